//! Convolution on NVIDIA GPUs by cuDNN, all three passes, for any number of axes.
//!
//! candle's own takes two axes, and its backward is a naive kernel. Values are in NCHW or NCDHW
//! order, in single or bfloat16 precision; sums are in single.
//!
//! cuDNN chooses the algorithm for the sizes. Some of those of the weights' gradient add in any
//! order, so runs may differ in the last bits.
#![expect(unsafe_code, reason = "cuDNN's calls take raw buffers")]

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use candle_core::{
    CudaDevice, CudaStorage, DType, Error, Result, Storage, Tensor,
    backend::BackendStorage as _,
    cuda_backend::{CudaDType, DeviceId, cudarc},
    op::BackpropOp,
};
use cudarc::{
    cudnn::{
        ConvBackwardData, ConvBackwardFilter, ConvForward, Cudnn, CudnnDataType, CudnnError, sys,
    },
    driver::{CudaSlice, CudaView, DeviceRepr, ValidAsZeroBits},
};
use half::bf16;

use super::Geometry;

thread_local! {
    /// A handle belongs to one thread.
    static HANDLES: RefCell<HashMap<DeviceId, Arc<Cudnn>>> = RefCell::default();
}

fn handle(device: &CudaDevice) -> Result<Arc<Cudnn>> {
    HANDLES.with_borrow_mut(|handles| match handles.get(&device.id()) {
        Some(handle) => Ok(Arc::clone(handle)),
        None => {
            let handle = Cudnn::new(device.cuda_stream()).map_err(wrap)?;
            handles.insert(device.id(), Arc::clone(&handle));
            Ok(handle)
        }
    })
}

fn wrap(error: CudnnError) -> Error {
    Error::wrap(error)
}

/// A type that cuDNN convolves.
trait Convolved: DeviceRepr + ValidAsZeroBits + CudnnDataType + CudaDType {
    const ONE: Self;
    const ZERO: Self;
}

impl Convolved for f32 {
    const ONE: Self = 1.0;
    const ZERO: Self = 0.0;
}

impl Convolved for bf16 {
    const ONE: Self = Self::ONE;
    const ZERO: Self = Self::ZERO;
}

/// Which of the three tensors of a convolution is computed from the other two.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pass {
    /// The result, from the input and the weights.
    Forward,
    /// The gradient of the input, from the weights and the gradient of the result.
    Input,
    /// The gradient of the weights, from the input and the gradient of the result.
    Weights,
}

/// Computes one pass from its two tensors.
pub(super) fn run(pass: Pass, geometry: &Geometry, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match a.dtype() {
        DType::F32 => typed::<f32>(pass, geometry, a, b),
        DType::BF16 => typed::<bf16>(pass, geometry, a, b),
        other => candle_core::bail!("cuDNN convolutions take f32 and bf16, not {other:?}"),
    }
}

fn typed<T: Convolved>(pass: Pass, geometry: &Geometry, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let ((a_storage, a_layout), (b_storage, b_layout)) =
        (a.storage_and_layout(), b.storage_and_layout());
    let (Storage::Cuda(a_storage), Storage::Cuda(b_storage)) = (&*a_storage, &*b_storage) else {
        candle_core::bail!("a convolution by cuDNN takes tensors on the GPU")
    };
    let device = a_storage.device();
    let a = a_storage.as_cuda_slice::<T>()?.slice(a_layout.start_offset()..);
    let b = b_storage.as_cuda_slice::<T>()?.slice(b_layout.start_offset()..);
    let shapes = Shapes::new(geometry)?;
    let made = launch(pass, &shapes, device, &a, &b)?;
    let shape: Vec<usize> = match pass {
        Pass::Forward => of(geometry.batch, geometry.out_channels, geometry.output),
        Pass::Input => of(geometry.batch, geometry.channels, geometry.input),
        Pass::Weights => of(geometry.out_channels, geometry.channels, geometry.kernel),
    };
    let storage = CudaStorage::wrap_cuda_slice(made, device.clone());
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}

fn of(first: usize, second: usize, axes: [usize; 3]) -> Vec<usize> {
    [first, second].into_iter().chain(axes).collect()
}

/// Sizes as cuDNN wants them: two axes where the first does nothing, as there are more algorithms
/// for two.
struct Shapes {
    x: Vec<i32>,
    w: Vec<i32>,
    y: Vec<i32>,
    padding: Vec<i32>,
    stride: Vec<i32>,
}

impl Shapes {
    fn new(geometry: &Geometry) -> Result<Self> {
        let flat = geometry.input[0] == 1 && geometry.kernel[0] == 1 && geometry.output[0] == 1;
        let skip = usize::from(flat);
        let whole = |sizes: Vec<usize>| -> Result<Vec<i32>> {
            sizes.into_iter().map(|size| i32::try_from(size).map_err(Error::wrap)).collect()
        };
        let shape = |first, second, axes: [usize; 3]| {
            whole([first, second].into_iter().chain(axes.into_iter().skip(skip)).collect())
        };
        Ok(Self {
            x: shape(geometry.batch, geometry.channels, geometry.input)?,
            w: shape(geometry.out_channels, geometry.channels, geometry.kernel)?,
            y: shape(geometry.batch, geometry.out_channels, geometry.output)?,
            padding: whole(geometry.padding.into_iter().skip(skip).collect())?,
            stride: whole(geometry.stride.into_iter().skip(skip).collect())?,
        })
    }
}

/// Elements to skip from one index to the next, along each axis.
fn strides(shape: &[i32]) -> Vec<i32> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

fn launch<T: Convolved>(
    pass: Pass,
    shapes: &Shapes,
    device: &CudaDevice,
    a: &CudaView<'_, T>,
    b: &CudaView<'_, T>,
) -> Result<CudaSlice<T>> {
    let handle = handle(device)?;
    let dilation = vec![1; shapes.stride.len()];
    let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
    let mut convolution = handle
        .create_convnd::<f32>(&shapes.padding, &shapes.stride, &dilation, mode)
        .map_err(wrap)?;
    convolution.set_math_type(sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH).map_err(wrap)?;
    let conv = &convolution;
    let tensor = |shape: &[i32]| handle.create_nd_tensor::<T>(shape, &strides(shape));
    let order = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
    let (x, y) = (tensor(&shapes.x).map_err(wrap)?, tensor(&shapes.y).map_err(wrap)?);
    let w = handle.create_nd_filter::<T>(order, &shapes.w).map_err(wrap)?;
    let elements = |shape: &[i32]| shape.iter().map(|size| *size as usize).product::<usize>();
    let room = |count: usize| {
        // SAFETY: cuDNN writes all of it, as the factor of old values is zero.
        unsafe { device.alloc::<T>(count) }
    };
    let workspace = |bytes: usize| {
        // SAFETY: nobody reads what cuDNN did not write.
        unsafe { device.alloc::<u8>(bytes.max(1)) }
    };
    let factors = (T::ONE, T::ZERO);
    match pass {
        Pass::Forward => {
            let call = ConvForward { conv, x: &x, w: &w, y: &y };
            let algorithm = call.pick_algorithm().map_err(wrap)?;
            let mut space = workspace(call.get_workspace_size(algorithm).map_err(wrap)?)?;
            let mut to = room(elements(&shapes.y))?;
            // SAFETY: the buffers have the sizes of the descriptors.
            unsafe { call.launch(algorithm, Some(&mut space), factors, a, b, &mut to) }
                .map_err(wrap)?;
            Ok(to)
        }
        Pass::Input => {
            let call = ConvBackwardData { conv, dx: &x, w: &w, dy: &y };
            let algorithm = call.pick_algorithm().map_err(wrap)?;
            let mut space = workspace(call.get_workspace_size(algorithm).map_err(wrap)?)?;
            let mut to = room(elements(&shapes.x))?;
            // SAFETY: as above.
            unsafe { call.launch(algorithm, Some(&mut space), factors, &mut to, a, b) }
                .map_err(wrap)?;
            Ok(to)
        }
        Pass::Weights => {
            let call = ConvBackwardFilter { conv, x: &x, dw: &w, dy: &y };
            let algorithm = call.pick_algorithm().map_err(wrap)?;
            let mut space = workspace(call.get_workspace_size(algorithm).map_err(wrap)?)?;
            let mut to = room(elements(&shapes.w))?;
            // SAFETY: as above.
            unsafe { call.launch(algorithm, Some(&mut space), factors, a, &mut to, b) }
                .map_err(wrap)?;
            Ok(to)
        }
    }
}
