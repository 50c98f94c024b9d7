//! The log: one line per pass that changed something, fields instead of prose.

use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// Starts logging to standard error. `filter` is a tracing filter such as `info` or `quorate=debug`.
///
/// Errors: a filter that is not one, or a log that was started before.
pub fn start(filter: &str, format: Format) -> Result<(), String> {
    // The driver logs every refusal of an instance as an error; what matters of them is told by the pass.
    let filter = EnvFilter::try_new(format!("tiberius=off,{filter}"))
        .map_err(|error| format!("log filter {filter:?}: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        Format::Json => {
            let layer = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
            registry.with(layer.with_writer(std::io::stderr)).try_init()
        }
        Format::Text => {
            let layer = fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_target(false);
            registry.with(layer.with_writer(std::io::stderr)).try_init()
        }
    };
    started.map_err(|error| error.to_string())
}
