//! Every kernel in plain Rust, one file per family with the same stem as the kernel's own.
//!
//! The forward formulas are generic over [`Scalar`], so that the same lines run in f64 (what kernels
//! are compared with) and on [`Complex`] numbers (what the backward formulas are checked with, by
//! complex step: f(x + ih) has the derivative in its imaginary part, with no cancellation).
//! Matrices are dense, row-major slices; whoever has strides takes the columns out with [`columns`].

// Each test target uses its own share of this module.
#![allow(dead_code)]

pub mod adamw;
pub mod add_rows;
pub mod attention;
pub mod copy_columns;
pub mod cross_entropy;
pub mod dropout;
pub mod gather;
pub mod gelu;
pub mod head_norm;
pub mod layer_norm;
pub mod matmul;
pub mod reduce;
pub mod rms_norm;
pub mod rope;
pub mod sample;
pub mod swiglu;
pub mod transpose;

use std::ops::{Add, Div, Mul, Neg, Sub};

/// What the formulas need of a number.
pub trait Scalar:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    /// A real number.
    fn of(value: f64) -> Self;
    /// The real part, for comparisons.
    fn re(self) -> f64;
    /// eˣ
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Square root with a positive real part.
    fn sqrt(self) -> Self;
}

impl Scalar for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn re(self) -> f64 {
        self
    }
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn ln(self) -> Self {
        f64::ln(self)
    }
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
}

/// A complex number, with as much arithmetic as complex-step differentiation needs.
#[derive(Clone, Copy, Debug)]
pub struct Complex {
    pub re: f64,
    pub im: f64,
}

impl Add for Complex {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Self { re: self.re + o.re, im: self.im + o.im }
    }
}
impl Sub for Complex {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        Self { re: self.re - o.re, im: self.im - o.im }
    }
}
impl Mul for Complex {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        Self { re: self.re * o.re - self.im * o.im, im: self.re * o.im + self.im * o.re }
    }
}
impl Div for Complex {
    type Output = Self;
    fn div(self, o: Self) -> Self {
        let norm = o.re * o.re + o.im * o.im;
        Self { re: (self.re * o.re + self.im * o.im) / norm, im: (self.im * o.re - self.re * o.im) / norm }
    }
}
impl Neg for Complex {
    type Output = Self;
    fn neg(self) -> Self {
        Self { re: -self.re, im: -self.im }
    }
}

impl Scalar for Complex {
    fn of(value: f64) -> Self {
        Self { re: value, im: 0.0 }
    }
    fn re(self) -> f64 {
        self.re
    }
    fn exp(self) -> Self {
        let size = self.re.exp();
        Self { re: size * self.im.cos(), im: size * self.im.sin() }
    }
    fn ln(self) -> Self {
        Self { re: self.re.hypot(self.im).ln(), im: self.im.atan2(self.re) }
    }
    fn sqrt(self) -> Self {
        let (size, angle) = (self.re.hypot(self.im).sqrt(), self.im.atan2(self.re) / 2.0);
        Self { re: size * angle.cos(), im: size * angle.sin() }
    }
}

/// Σ of any scalar.
pub fn sum<S: Scalar>(values: impl IntoIterator<Item = S>) -> S {
    values.into_iter().fold(S::of(0.0), |total, value| total + value)
}

/// The gradient of a real function of `x`, exact to rounding.
pub fn complex_step(x: &[f64], f: impl Fn(&[Complex]) -> Complex) -> Vec<f64> {
    const H: f64 = 1e-30;
    let mut z: Vec<Complex> = x.iter().map(|&v| Complex::of(v)).collect();
    (0..x.len())
        .map(|i| {
            z[i].im = H;
            let slope = f(&z).im / H;
            z[i].im = 0.0;
            slope
        })
        .collect()
}

/// The same numbers as another scalar.
pub fn lift<S: Scalar>(values: &[f64]) -> Vec<S> {
    values.iter().map(|&v| S::of(v)).collect()
}

/// Columns `offset .. offset + width` of a matrix with `ld` columns.
pub fn columns<S: Copy>(x: &[S], ld: usize, offset: usize, width: usize) -> Vec<S> {
    x.chunks_exact(ld).flat_map(|row| row[offset..offset + width].iter().copied()).collect()
}
