//! The transformer, the diffusion terms and the samplers against the authors' code, and that the
//! table notices what is wrong.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail as tests do, and show the table"
)]

use std::path::Path;

use candle_core::{Device, Tensor, Var};
use curate_models::{
    diffusion::{Objective, Schedule, parity as diffusion},
    dit::{Clip, Config, Inputs, MotionAttention, Transformer3d, parity as transformer},
    params::Params,
    parity::{References, Row},
};
use curate_ops::{Adam, AdamStep, GradSink, Moments, gradients};

const CPU: Device = Device::Cpu;

fn print(rows: &[Row]) {
    for row in rows {
        println!("{row}");
    }
}

fn assert_equal(rows: &[Row]) {
    print(rows);
    let failed: Vec<&Row> = rows.iter().filter(|row| !row.passes()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn terms_and_trajectories_are_the_published_ones() {
    let Some(folder) = curate_testing::shared("fixtures/easyanimate_v3") else { return };
    let loss = diffusion::loss_rows(&folder, &CPU).unwrap();
    assert_eq!(loss.len(), 8);
    let samplers = diffusion::sampler_rows(&folder, &CPU).unwrap();
    assert_eq!(samplers.len(), 12);
    assert_equal(&loss);
    assert_equal(&samplers);
}

#[test]
fn outputs_are_the_published_ones() {
    let Some(folder) = curate_testing::shared("fixtures/easyanimate_v3") else { return };
    let (network, _) = transformer::network(&folder, &CPU).unwrap();
    let rows = transformer::output_rows(&network, &folder, &CPU).unwrap();
    assert_eq!(rows.len(), 2);
    assert_equal(&rows);
}

#[test]
fn gradients_are_the_published_ones() {
    let Some(folder) = curate_testing::shared("fixtures/easyanimate_v3") else { return };
    let (network, params) = transformer::network(&folder, &CPU).unwrap();
    let rows = transformer::gradient_rows((&network, &params), &folder, &CPU).unwrap();
    // The loss, four parts, the norm.
    assert_eq!(rows.len(), 6);
    assert_equal(&rows);
}

/// The table of the network that `change` makes of the published one.
fn rows_of(folder: &Path, change: impl FnOnce(&mut Config, &Params)) -> Vec<Row> {
    let (network, mut params) = transformer::network(folder, &CPU).unwrap();
    let mut config = network.config().clone();
    change(&mut config, &params);
    let network = Transformer3d::new(&mut params, &config).unwrap();
    transformer::output_rows(&network, folder, &CPU).unwrap()
}

fn swap(params: &Params, first: &str, second: &str) {
    let (first, second) = (params.get(first).unwrap(), params.get(second).unwrap());
    let (a, b) = (first.as_tensor().copy().unwrap(), second.as_tensor().copy().unwrap());
    first.set(&b).unwrap();
    second.set(&a).unwrap();
}

fn fails(rows: &[Row], name: &str) -> bool {
    print(rows);
    rows.iter().any(|row| row.name.ends_with(name) && !row.passes())
}

/// Broken by what a network may be given: another configuration, or weights in another place.
#[test]
fn the_table_fails_for_what_is_broken() {
    let Some(folder) = curate_testing::shared("fixtures/easyanimate_v3") else { return };
    let intact = rows_of(&folder, |_, _| {});
    assert!(!fails(&intact, "y"));

    // Attention along time where the published network looks at everything. A picture has but one
    // frame, so that both see it.
    let rows = rows_of(&folder, |config, _| {
        if let Some(motion) = &mut config.motion {
            motion.odd[1] = MotionAttention::Temporal;
        }
    });
    assert!(fails(&rows, "vid.y"));
    // Queries as values, and the other way round, in one spatial attention.
    let rows = rows_of(&folder, |_, params| {
        let of = |part: &str| format!("transformer_blocks.3.attn1.{part}.weight");
        swap(params, &of("to_q"), &of("to_v"));
    });
    assert!(fails(&rows, "img.y") && fails(&rows, "vid.y"));

    // The layers that take skips in the opposite order.
    let rows = rows_of(&folder, |_, params| {
        for index in 0..6 {
            for part in ["weight", "bias"] {
                let of = |index: usize| format!("long_connect_fc.{index}.{part}");
                swap(params, &of(index), &of(12 - index));
            }
        }
    });
    assert!(fails(&rows, "img.y") && fails(&rows, "vid.y"));

    // Rows for columns: the same as a network that sees and makes everything mirrored at the diagonal,
    // patches by kernels that are mirrored too, so that only positions can tell.
    let (network, params) = transformer::network(&folder, &CPU).unwrap();
    let file = References::open(&folder.join("transformer3d.io.safetensors"), &CPU).unwrap();
    let row = file.compare("vid.y", &run(&network, &file, "vid", false), "vid.y").unwrap();
    assert!(row.passes());
    mirror_patches(&params, network.config());
    let turned = run(&network, &file, "vid", true);
    let row = file.compare("vid.y", &turned, "vid.y").unwrap();
    println!("{row}");
    assert!(!row.passes());
}

/// Mirrors the kernel that makes tokens of patches, and the order in which patches are made of tokens.
fn mirror_patches(params: &Params, config: &Config) {
    let kernel = params.get("pos_embed.proj.weight").unwrap();
    let mirrored = kernel.as_tensor().transpose(2, 3).unwrap().contiguous().unwrap();
    kernel.set(&mirrored).unwrap();
    for part in ["weight", "bias"] {
        let rows = params.get(&format!("proj_out.{part}")).unwrap();
        let side = config.patch;
        let shape = rows.as_tensor().shape().clone();
        let apart = rows.as_tensor().reshape((side, side, ())).unwrap();
        let mirrored = apart.transpose(0, 1).unwrap().contiguous().unwrap();
        rows.set(&mirrored.reshape(shape).unwrap()).unwrap();
    }
}

/// The output, by way of a network that sees everything mirrored at the diagonal or not.
fn run(network: &Transformer3d, file: &References, case: &str, is_mirrored: bool) -> Tensor {
    let get = |name: &str| file.get(&format!("{case}.{name}")).unwrap().clone();
    let mirror = |tensor: &Tensor| {
        if is_mirrored {
            tensor.transpose(3, 4).unwrap().contiguous().unwrap()
        } else {
            tensor.clone()
        }
    };
    let times = get("t").to_dtype(candle_core::DType::F32).unwrap();
    let (text, mask, embedding, clip_mask) =
        (get("text"), get("text_mask"), get("clip"), get("clip_mask"));
    let inputs = Inputs {
        latents: &mirror(&get("x")),
        inpaint: Some(&mirror(&get("inpaint"))),
        times: &times,
        text: &text,
        text_mask: Some(&mask),
        clip: Some(Clip { embedding: &embedding, mask: &clip_mask }),
        size: None,
    };
    mirror(&network.forward(&inputs).unwrap())
}

/// Twenty steps of the published trainer's optimiser: every loss and every norm of gradients.
#[test]
fn training_goes_the_published_way() {
    let Some(folder) = curate_testing::shared("fixtures/easyanimate_v3") else { return };
    let file = References::open(&folder.join("transformer3d.steps.safetensors"), &CPU).unwrap();
    let (network, params) = transformer::network(&folder, &CPU).unwrap();
    let vars: Vec<Var> = params.trained().map(|(_, var)| var.clone()).collect();
    let moments: Vec<Moments> = vars.iter().map(|var| Moments::zeros(var).unwrap()).collect();
    let adam = Adam { eps: 1e-10, weight_decay: 3e-2, ..Adam::default() };
    let (schedule, objective) = (Schedule::default(), Objective::default());
    let losses = file.numbers("loss").unwrap();
    let norms = file.numbers("grad_norm_before_clip").unwrap();
    for (step, (expected, expected_norm)) in losses.iter().zip(norms).enumerate() {
        let get = |name: &str| file.get(&format!("{name}.{step:02}")).unwrap();
        let times = file.numbers(&format!("t.{step:02}")).unwrap();
        let fractions: Vec<f64> = times.iter().map(|time| (time + 0.5) / 1000.0).collect();
        let sample = objective.noised(&schedule, (get("x0"), get("noise")), &fractions).unwrap();
        let times: Vec<f32> = times.iter().map(|time| *time as f32).collect();
        let inputs = Inputs {
            latents: &sample.x_t,
            inpaint: Some(get("inpaint")),
            times: &Tensor::new(times.as_slice(), &CPU).unwrap(),
            text: get("text"),
            text_mask: Some(get("text_mask")),
            clip: Some(Clip { embedding: get("clip"), mask: get("clip_mask") }),
            size: None,
        };
        // Half of the steps with checkpoints: they change nothing.
        let sink = GradSink::new();
        let output = match step % 2 {
            0 => network.forward(&inputs).unwrap(),
            _ => network.forward_checkpointed(&inputs, &sink).unwrap(),
        };
        let loss = objective.loss(&schedule, &sample, &output).unwrap().loss.mean_all().unwrap();
        let value = f64::from(loss.to_scalar::<f32>().unwrap());
        let found = gradients(loss, &vars, Some(&sink)).unwrap();
        let norm = found.norm(&vars).unwrap();
        println!("{step:2} loss {value:.6} {expected:.6} norm {norm:.6} {expected_norm:.6}");
        assert!((value / expected - 1.0).abs() < 1e-3, "step {step}: {value} {expected}");
        assert!((norm / expected_norm - 1.0).abs() < 1e-2, "step {step}: {norm} {expected_norm}");
        // As PyTorch clips.
        let scale = (1.0 / (norm + 1e-6)).min(1.0);
        let adam_step =
            AdamStep { number: step as u64 + 1, learning_rate: 1e-4, gradient_scale: scale };
        for (var, moments) in vars.iter().zip(&moments) {
            let gradient = found.get(var).unwrap();
            adam.step(var, gradient, moments, &adam_step).unwrap();
        }
    }
}
