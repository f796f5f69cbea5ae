//! Tells the linker where the stand-ins for NVIDIA's libraries are, which `cuda.sh` makes.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CUDA_STUBS");
    #[expect(clippy::disallowed_methods, reason = "the environment is how cargo talks to build.rs")]
    let variable = |name: &str| std::env::var(name).ok();
    if variable("CARGO_FEATURE_CUDA").is_some()
        && let Some(stubs) = variable("CUDA_STUBS")
    {
        println!("cargo::rustc-link-search=native={stubs}");
    }
}
