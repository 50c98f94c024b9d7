//! What operator and instances log becomes lines of the history: decisions with their reasons, changes of roles.

use crate::world::history::History;
use std::fmt::{self, Write as _};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    subscriber::{DefaultGuard, Interest},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};

/// Listens until it is dropped.
pub type Guard = DefaultGuard;

/// Listens to this thread.
pub fn start(history: &History) -> Guard {
    tracing::subscriber::set_default(tracing_subscriber::registry().with(Lines(history.clone())))
}

struct Lines(History);

fn is_ours(metadata: &tracing::Metadata<'_>) -> bool {
    let target = metadata.target();
    *metadata.level() <= Level::INFO && (target.starts_with("quorate") || target.starts_with("standin"))
}

impl<S: Subscriber> Layer<S> for Lines {
    fn register_callsite(&self, metadata: &'static tracing::Metadata<'static>) -> Interest {
        if is_ours(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        is_ours(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let who = event.metadata().target().split("::").next().unwrap_or_default();
        self.0.note(who, format!("{}{}", words.message, words.fields));
    }
}

#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "namespace" | "group" => {}
            "message" if self.message.is_empty() => self.message = format!("{value:?}"),
            name => {
                let _ = write!(self.fields, " {name}={value:?}");
            }
        }
    }
}
