//! The kernel cases, one file per family with the kernel's stem; included by the native target and by
//! the browser's.

mod compare;
mod inputs;

mod adamw;
mod add_rows;
mod attention;
// Its workgroups need more memory than browsers give; the kernels are native ones.
#[cfg(not(target_arch = "wasm32"))]
mod attention_coop;
mod attention_token;
mod copy;
mod copy_columns;
mod cross_entropy;
mod gather;
mod gelu;
mod grid;
mod halves;
mod head_norm;
mod layer_norm;
mod loss_scale;
mod matmul;
mod matmul_coop;
mod matmul_dropout;
mod matmul_narrow;
mod matvec;
mod parts;
#[cfg(not(target_arch = "wasm32"))]
mod pipelines;
mod reduce;
mod rms_norm;
mod rope;
mod rope_heads;
mod sample;
mod swiglu;
mod transpose;
