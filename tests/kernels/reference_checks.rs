//! The reference itself, without a GPU: backward formulas against complex step in f64, AdamW against
//! numbers from torch, the hash against numbers from exact integers in Python.

use crate::reference::adamw::{AdamW, State};
use crate::reference::attention::Attention;
use crate::reference::matmul::Lora;
use crate::reference::rope::Heads;
use crate::reference::{
    Complex, Scalar, complex_step, cross_entropy, dropout, gelu, layer_norm, lift, rms_norm, rope, sum,
    swiglu,
};

/// Complex step has no cancellation: what differs is rounding in f64, of sums of up to 100 terms.
const TOLERANCE: f64 = 1e-12;

/// Deterministic inputs of about ±1 that no structure of the formulas can follow.
fn inputs(count: usize, seed: u32) -> Vec<f64> {
    let value = |i| f64::from(dropout::hash(seed, 0, 0, i)) / 2_147_483_648.0 - 1.0;
    (0..count as u32).map(value).collect()
}

/// The scalar whose gradient is taken: the outputs weighted by dy.
fn weighted<S: Scalar>(y: &[S], dy: &[f64]) -> S {
    assert_eq!(y.len(), dy.len());
    sum(y.iter().zip(dy).map(|(&y, &d)| y * S::of(d)))
}

#[track_caller]
fn assert_gradient(name: &str, formula: &[f64], exact: &[f64]) {
    assert_eq!(formula.len(), exact.len(), "{name}");
    let norm = exact.iter().map(|v| v * v).sum::<f64>().sqrt();
    assert!(norm > 1e-3, "{name}: a gradient of zero proves nothing");
    for (i, (f, e)) in formula.iter().zip(exact).enumerate() {
        assert!((f - e).abs() <= TOLERANCE * norm, "{name}[{i}]: formula {f}, complex step {e}");
    }
}

#[test]
fn complex_arithmetic() {
    // d/dx of each function at a point, known in closed form.
    let at = 0.7f64;
    let slope = |f: fn(Complex) -> Complex| complex_step(&[at], |x| f(x[0]))[0];
    let close = |got: f64, exact: f64| assert!((got - exact).abs() < 1e-15, "{got} {exact}");
    close(slope(|x| x * x), 2.0 * at);
    close(slope(|x| Complex::of(1.0) / x), -1.0 / (at * at));
    close(slope(Scalar::exp), at.exp());
    close(slope(Scalar::ln), 1.0 / at);
    close(slope(Scalar::sqrt), 0.5 / at.sqrt());
    close(slope(|x| -x - x), -2.0);
}

#[test]
fn rms_norm_backward() {
    let (x, weight, dy) = (inputs(3 * 7, 1), inputs(7, 2), inputs(3 * 7, 3));
    let (_, rstd) = rms_norm::rms_norm(&x, &weight, 1e-5);
    let dx = rms_norm::rms_norm_backward(&x, &weight, &rstd, &dy);
    let exact = complex_step(&x, |x| weighted(&rms_norm::rms_norm(x, &lift(&weight), 1e-5).0, &dy));
    assert_gradient("dx", &dx, &exact);
}

#[test]
fn layer_norm_backward() {
    let (x, weight, dy) = (inputs(3 * 7, 21), inputs(7, 22), inputs(3 * 7, 23));
    let (_, rstd) = layer_norm::layer_norm(&x, &weight, &weight, 1e-5);
    let dx = layer_norm::layer_norm_backward(&x, &weight, &rstd, &dy);
    let exact = complex_step(&x, |x| {
        weighted(&layer_norm::layer_norm(x, &lift(&weight), &lift(&weight), 1e-5).0, &dy)
    });
    assert_gradient("dx", &dx, &exact);
}

#[test]
fn gelu_backward() {
    let dy = inputs(3 * 5, 25);
    for gated in [false, true] {
        let x: Vec<f64> = inputs(if gated { 3 * 10 } else { 3 * 5 }, 24).iter().map(|v| 3.0 * v).collect();
        let dx = gelu::gelu_backward(&x, &dy, 5, gated);
        let exact = complex_step(&x, |x| weighted(&gelu::gelu(x, 5, gated), &dy));
        assert_gradient("dx", &dx, &exact);
    }
    // torch.nn.functional.gelu(x, approximate="tanh") in f64.
    for (x, y) in
        [(-2.0, -0.045_402_305_912_224_94), (0.5, 0.345_714_009_825_143_94), (3.0, 2.996_362_607_918_227)]
    {
        assert!((gelu::of(x) - y).abs() < 1e-15, "gelu({x})");
    }
}

#[test]
fn swiglu_backward() {
    let (gate_up, dy) = (inputs(3 * 10, 4), inputs(3 * 5, 5));
    let dx = swiglu::swiglu_backward(&gate_up, &dy, 5);
    let exact = complex_step(&gate_up, |x| weighted(&swiglu::swiglu(x, 5), &dy));
    assert_gradient("d_gate_up", &dx, &exact);
}

#[test]
fn cross_entropy_backward() {
    let (logits, targets) = (inputs(4 * 9, 6), [8, cross_entropy::NONE, 0, 3]);
    let dz = cross_entropy::cross_entropy_backward(&logits, &targets, 9, 0.25);
    let exact =
        complex_step(&logits, |z| weighted(&cross_entropy::cross_entropy(z, &targets, 9), &[0.25; 4]));
    assert_gradient("d logits", &dz, &exact);
}

#[test]
fn rope_backward() {
    let heads = Heads { heads: 2, head_dim: 7, rotary: 6, ld: 15 };
    let (x, dy, positions) = (inputs(3 * 15, 7), inputs(3 * 15, 8), [4, 0, 9]);
    let table = rope::table(10, 6, 100.0);
    let mut dx = dy.clone();
    rope::rope(&mut dx, heads, &positions, &table, -1.0);
    let exact = complex_step(&x, |x| {
        let mut y = x.to_vec();
        rope::rope(&mut y, heads, &positions, &table, 1.0);
        weighted(&y, &dy)
    });
    assert_gradient("dx", &dx, &exact);
}

#[test]
fn lora_backward() {
    let lora = Lora { rows: 4, inputs: 5, outputs: 6, rank: 2, scaling: 1.5 };
    let (x, w, a, b) = (inputs(4 * 5, 9), inputs(6 * 5, 10), inputs(2 * 5, 11), inputs(6 * 2, 12));
    let dy = inputs(4 * 6, 13);
    let mask = dropout::mask(1, 2, [4, 5], 1 << 30, 4.0 / 3.0);
    assert!(mask.contains(&0.0));
    let (_, e) = lora.forward(&x, &w, &a, &b, &mask);
    let (dx, da, db) = lora.backward([&x, &w, &a, &b], &mask, &e, &dy);
    let loss = |x: &[Complex], a: &[Complex], b: &[Complex]| {
        weighted(&lora.forward(x, &lift(&w), a, b, &mask).0, &dy)
    };
    assert_gradient("dx", &dx, &complex_step(&x, |x| loss(x, &lift(&a), &lift(&b))));
    assert_gradient("dA", &da, &complex_step(&a, |a| loss(&lift(&x), a, &lift(&b))));
    assert_gradient("dB", &db, &complex_step(&b, |b| loss(&lift(&x), &lift(&a), b)));
}

#[test]
fn attention_backward() {
    for (heads, kv_heads) in [(2, 2), (4, 2), (3, 1)] {
        let shape = Attention { heads, kv_heads, head_dim: 4, scale: 0.4 };
        // Two documents of three and two rows, and a row that attends nothing.
        let range = [[0, 1], [0, 2], [0, 3], [3, 4], [3, 5], [0, 0]];
        let q = inputs(range.len() * shape.q_width(), 14);
        let kv = inputs(range.len() * shape.kv_width(), 15);
        let dy = inputs(q.len(), 16);
        let (y, lse) = shape.forward(&q, &kv, &range);
        let delta = shape.delta(&y, &dy);
        let (dq, dkv) = shape.backward([&q, &kv], &range, [&lse, &delta], &dy);
        let exact = complex_step(&q, |q| weighted(&shape.forward(q, &lift(&kv), &range).0, &dy));
        assert_gradient("dq", &dq, &exact);
        let exact = complex_step(&kv, |kv| weighted(&shape.forward(&lift(&q), kv, &range).0, &dy));
        assert_gradient("dkv", &dkv, &exact);
    }
}

/// Uniform scores average the values: known without any formula of the reference's.
#[test]
fn attention_averages_values_of_equal_keys() {
    let shape = Attention { heads: 1, kv_heads: 1, head_dim: 2, scale: 1.0 / 2f64.sqrt() };
    let kv = [1.0, 1.0, 10.0, -4.0, 1.0, 1.0, 20.0, 6.0];
    let (y, lse) = shape.forward(&[2.0, 3.0, 2.0, 3.0], &kv, &[[0, 1], [0, 2]]);
    let close = |got: f64, exact: f64| assert!((got - exact).abs() < 1e-14, "{got} {exact}");
    [10.0, -4.0, 15.0, 1.0].iter().zip(&y).for_each(|(&exact, &got)| close(got, exact));
    close(lse[0], 5.0 / 2f64.sqrt());
    close(lse[1], 5.0 / 2f64.sqrt() + 2f64.ln());
}

/// Four steps of torch 2.15's torch.optim.AdamW in float64 after clip_grad_norm_:
/// lr = 3e-3, betas = (0.9, 0.999), eps = 1e-8.
#[test]
fn adamw_is_torchs() {
    let gradients = [
        [0.1, -0.2, 0.3, 0.0, 1.5],
        [-0.4, 0.05, 0.2, 0.7, -0.1],
        [2.0, -3.0, 1.0, 0.5, 4.0],
        [1e-6, -2e-6, 0.0, 3e-6, 1e-7],
    ];
    let clipped = [
        [0.49846433930618, -1.24203132743151, 1.98831784693046, 0.0242019159079687, -0.708766714430627],
        [0.00504287272405782, -0.0544721120596853, 0.046710151230022, 0.0648821166942151, 0.12808713276168],
        [
            0.00029595084078723,
            0.000316404255992998,
            0.000110488818796463,
            0.000497276685353855,
            0.00147697644749683,
        ],
    ];
    let whole = [
        [0.495740295080004, -1.24197786333559, 1.9894216057232, 0.023186504952422, -0.709038899830367],
        [0.1548901, -0.2805302, 0.12807, 0.1017003, 0.46125001],
        [0.004165650189991, 0.00903337512246401, 0.00112865030991, 0.000738770490009001, 0.01823723675775],
    ];
    for (max_grad_norm, weight_decay, [p, m, v]) in [(1.0, 0.01, clipped), (10.0, 0.0, whole)] {
        let config = AdamW { lr: 3e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay, max_grad_norm };
        let mut state = State { p: vec![0.5, -1.25, 2.0, 0.03, -0.7], m: vec![0.0; 5], v: vec![0.0; 5] };
        for (t, g) in (1..).zip(&gradients) {
            config.step(&mut state, g, crate::reference::reduce::norm(g), t);
        }
        for (got, torch) in [(&state.p, p), (&state.m, m), (&state.v, v)] {
            for (got, torch) in got.iter().zip(torch) {
                assert!((got - torch).abs() <= 1e-13 * torch.abs().max(1e-3), "{got} {torch}");
            }
        }
        let before = state.clone();
        config.step(&mut state, &[1.0; 5], f64::NAN, 5);
        assert_eq!(state, before);
    }
}

#[test]
fn hash_is_pcg() {
    let expected = [
        (0, 129_708_002),
        (1, 2_831_084_092),
        (2, 2_055_130_248),
        (0xdead_beef, 1_730_779_506),
        (u32::MAX, 3_861_530_882),
    ];
    for (input, output) in expected {
        assert_eq!(dropout::pcg(input), output);
    }
    assert_eq!(dropout::hash(0, 0, 0, 0), 2_145_236_065);
    assert_eq!(dropout::hash(42, 3, 17, 1023), 1_966_622_902);
    assert_eq!(dropout::hash(u32::MAX, 7, 5, 123), 3_439_797_508);
}
