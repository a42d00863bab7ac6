//! Steps and learning rates, against transformers 5.23 (`Trainer.set_initial_training_values`,
//! `get_scheduler`).

use postil::ErrorKind;
use postil::config::{Schedule, TrainConfig};

fn config(schedule: Schedule, warmup: usize) -> TrainConfig {
    TrainConfig { lr_scheduler_type: schedule, warmup_steps: Some(warmup), ..TrainConfig::default() }
}

/// What `get_scheduler` with lr 2e-4 gave for each step from 0.
#[test]
fn learning_rates_of_transformers() {
    let warmup = [0.0, 6.666666666666667e-05, 0.00013333333333333334];
    let three = |rest: [f64; 9]| warmup.into_iter().chain(rest).collect::<Vec<f64>>();
    let cases = [
        (Schedule::Constant, 3, three([0.0002; 9])),
        (
            Schedule::Linear,
            3,
            three([
                0.0002,
                0.00017777777777777779,
                0.00015555555555555556,
                0.00013333333333333334,
                0.00011111111111111112,
                8.888888888888889e-05,
                6.666666666666667e-05,
                4.4444444444444447e-05,
                2.2222222222222223e-05,
            ]),
        ),
        (
            Schedule::Cosine,
            3,
            three([
                0.0002,
                0.00019396926207859084,
                0.0001766044443118978,
                0.00015000000000000001,
                0.00011736481776669306,
                8.263518223330697e-05,
                5.000000000000002e-05,
                2.339555568810221e-05,
                6.030737921409169e-06,
            ]),
        ),
        (
            Schedule::Linear,
            0,
            vec![
                0.0002,
                0.00017142857142857143,
                0.00014285714285714287,
                0.00011428571428571428,
                8.571428571428571e-05,
                5.714285714285714e-05,
                2.857142857142857e-05,
            ],
        ),
        (
            Schedule::Cosine,
            0,
            vec![
                0.0002,
                0.0001900968867902419,
                0.00016234898018587337,
                0.00012225209339563145,
                7.774790660436858e-05,
                3.7651019814126654e-05,
                9.903113209758096e-06,
            ],
        ),
        (Schedule::Cosine, 5, vec![0.0, 4e-05, 8e-05, 0.00012, 0.00016]),
        // More warm-up than steps.
        (
            Schedule::Linear,
            9,
            vec![
                0.0,
                2.2222222222222223e-05,
                4.4444444444444447e-05,
                6.666666666666667e-05,
                8.888888888888889e-05,
                0.00011111111111111112,
            ],
        ),
    ];
    for (schedule, warmup, expected) in cases {
        let config = config(schedule, warmup);
        for (step, &expected_rate) in expected.iter().enumerate() {
            let rate = config.learning_rate_at(step, expected.len());
            // Two doubles that differ by rounding: a part in 10^12 of the peak is thousands of those.
            assert!(
                (rate - expected_rate).abs() <= 2e-16,
                "{schedule:?} {warmup} {step}: {rate} {expected_rate}"
            );
        }
    }
    let cosine = config(Schedule::Cosine, 0);
    assert!(cosine.learning_rate_at(10, 10).abs() < 1e-18);
    assert!(cosine.learning_rate_at(15, 10).abs() < 1e-18, "must not rise again after the end");
    assert_eq!(config(Schedule::Linear, 0).learning_rate_at(15, 10), 0.0);
}

#[test]
fn steps_of_the_trainer() {
    let cases = [
        (10, 4, 1, 3.0, None, 9),
        (10, 4, 2, 3.0, None, 6),
        (1, 4, 8, 3.0, None, 3),
        (100, 4, 3, 0.5, None, 5),
        (33, 2, 4, 1.3, None, 7),
        (7, 1, 7, 2.5, None, 3),
        (10, 4, 1, 3.0, Some(5), 5),
        (1000, 8, 1, 0.001, None, 1),
        (0, 4, 1, 3.0, None, 0),
    ];
    for (examples, batch, accumulation, num_train_epochs, max_steps, expected) in cases {
        let config = TrainConfig {
            per_device_train_batch_size: batch,
            gradient_accumulation_steps: accumulation,
            num_train_epochs,
            max_steps,
            ..TrainConfig::default()
        };
        assert_eq!(
            config.total_steps(examples),
            expected,
            "{examples} {batch} {accumulation} {num_train_epochs}"
        );
    }
}

#[test]
fn default_warmup_is_a_twentieth_up_to_a_hundred() {
    let config = TrainConfig::default();
    assert_eq!([0, 19, 20, 399, 2000, 100_000].map(|total| config.warmup(total)), [0, 0, 1, 19, 100, 100]);
    assert_eq!(TrainConfig { warmup_steps: Some(7), ..config }.warmup(5), 7);
}

#[test]
fn reads_json() {
    let read = |text: &str| serde_json::from_str::<TrainConfig>(text);
    assert_eq!(read("{}").expect("defaults"), TrainConfig::default());
    let constant =
        read(r#"{"lr_scheduler_type": "constant_with_warmup", "max_steps": 3}"#).expect("a config");
    assert_eq!((constant.lr_scheduler_type, constant.max_steps), (Schedule::Constant, Some(3)));
    assert!(read(r#"{"learning_rat": 1}"#).expect_err("a typo").to_string().contains("learning_rat"));
    assert!(read(r#"{"lr_scheduler_type": "polynomial"}"#).is_err());
    let text = serde_json::to_string(&TrainConfig::default()).expect("JSON");
    assert_eq!(read(&text).expect("its own JSON"), TrainConfig::default());
}

#[test]
fn refuses_by_field() {
    type Change = fn(&mut TrainConfig);
    let cases: [(&str, Change); 22] = [
        ("per_device_train_batch_size", |c| c.per_device_train_batch_size = 0),
        ("gradient_accumulation_steps", |c| c.gradient_accumulation_steps = 0),
        ("num_train_epochs", |c| c.num_train_epochs = 0.0),
        ("num_train_epochs", |c| c.num_train_epochs = f64::NAN),
        ("num_train_epochs", |c| c.num_train_epochs = 1e9),
        ("max_steps", |c| c.max_steps = Some(0)),
        ("max_length", |c| c.max_length = 1),
        ("max_length", |c| c.max_length = usize::MAX),
        ("learning_rate", |c| c.learning_rate = -1e-4),
        ("learning_rate", |c| c.learning_rate = f64::INFINITY),
        ("weight_decay", |c| c.weight_decay = -0.1),
        ("adam_beta1", |c| c.adam_beta1 = 1.0),
        ("adam_beta1", |c| c.adam_beta1 = -0.1),
        ("adam_beta2", |c| c.adam_beta2 = 1.5),
        ("adam_beta2", |c| c.adam_beta2 = f64::NAN),
        ("adam_epsilon", |c| c.adam_epsilon = 0.0),
        ("adam_epsilon", |c| c.adam_epsilon = f64::NAN),
        ("max_grad_norm", |c| c.max_grad_norm = -1.0),
        ("max_grad_norm", |c| c.max_grad_norm = f64::NAN),
        ("eval_steps", |c| c.eval_steps = Some(0)),
        ("save_steps", |c| c.save_steps = Some(0)),
        ("2^31", |c| c.per_device_train_batch_size = 1 << 30),
    ];
    TrainConfig::default().validate().expect("the defaults");
    for (text, change) in cases {
        let mut config = TrainConfig::default();
        change(&mut config);
        let error = config.validate().expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(text), "{text}: {error}");
    }
}

#[test]
fn warns() {
    assert!(TrainConfig::default().warnings().is_empty());
    let config = TrainConfig { learning_rate: 0.0, max_grad_norm: 0.0, ..TrainConfig::default() };
    config.validate().expect("allowed");
    assert!(config.warnings()[0].contains("trains nothing"));
    let config = TrainConfig { warmup_steps: Some(10), max_steps: Some(10), ..TrainConfig::default() };
    assert!(config.warnings()[0].contains("warmup_steps 10"));
}
