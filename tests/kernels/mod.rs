//! The kernel cases, one file per family with the kernel's stem; included by the native target and by
//! the browser's.

mod compare;
mod inputs;

mod adamw;
mod attention;
mod cross_entropy;
mod gather;
mod grid;
mod matmul;
mod matmul_dropout;
mod parts;
mod reduce;
mod rms_norm;
mod rope;
mod swiglu;
