//! The operations against their definitions and against finite differences.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

mod activation;
mod attention;
mod checkpoint;
mod conv;
mod linear;
mod norm;
mod optimizer;
mod resample;
mod threads;
