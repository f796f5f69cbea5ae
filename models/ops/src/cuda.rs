//! Settings of a CUDA device.
#![expect(unsafe_code, reason = "the driver's calls take raw pointers")]

use candle_core::{Error, Result, cuda_backend::cudarc::driver::sys};

/// Keeps freed memory of a GPU with the process. Without it the driver gives all of it back whenever
/// the program waits for the GPU, and each step allocates anew. Call it once for each device.
///
/// # Errors
/// When there is no such device.
pub fn keep_freed_memory(ordinal: usize) -> Result<()> {
    let ordinal = i32::try_from(ordinal).map_err(Error::wrap)?;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    let mut pool = std::ptr::null_mut();
    let mut device = 0;
    let mut all = u64::MAX;
    // SAFETY: the pointers are to variables of the types that the driver's manual gives.
    unsafe {
        sys::cuDeviceGet(&raw mut device, ordinal).result().map_err(Error::wrap)?;
        sys::cuDeviceGetDefaultMemPool(&raw mut pool, device).result().map_err(Error::wrap)?;
        sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut all).cast())
            .result()
            .map_err(Error::wrap)
    }
}
