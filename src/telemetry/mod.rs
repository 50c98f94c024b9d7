//! Logs, metrics, health: what people and machines may know while it runs.

pub mod http;
mod log;
pub mod metrics;

pub use http::{Health, serve};
pub use log::{Format, start};
pub use metrics::Metrics;
