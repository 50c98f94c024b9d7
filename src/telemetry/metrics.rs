//! Counters, gauges and histograms. Labels come from enums only, so that their number is bounded.

use crate::decide::{Part, Reason, Step};
use prometheus_client::{
    encoding::text,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use std::{fmt, time::Duration};

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect.
    Done,
    /// The target said no.
    Refused,
    /// It was not sent.
    NotSent,
    /// It was sent and its outcome is unknown.
    Lost,
}

impl Outcome {
    /// As label and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::NotSent => "not-sent",
            Self::Lost => "lost",
        }
    }
}

/// How a look at an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// With facts.
    Answered,
    /// With nothing.
    Silent,
    /// Our logins were refused.
    LoginRefused,
}

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Histograms = Family<Labels<1>, Histogram, fn() -> Histogram>;

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    passes: Family<Labels<1>, Counter>,
    steps: Family<Labels<2>, Counter>,
    looks: Histograms,
    parts: Histograms,
    leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("quorate");
        let looks: Histograms = Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 12)));
        let parts: Histograms = Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.05, 2.0, 12)));
        let (passes, steps, leader) = (Family::default(), Family::default(), Gauge::default());
        registry.register("passes", "Passes over a group, by what was seen", passes.clone());
        registry.register("steps", "Steps taken, by kind and outcome", steps.clone());
        registry.register_with_unit("look", "Time of a look at an instance", Unit::Seconds, looks.clone());
        registry.register_with_unit("failover_part", "Parts of a change of the primary", Unit::Seconds, parts.clone());
        registry.register("leader", "1 while this process may act", leader.clone());
        Self { registry, passes, steps, looks, parts, leader }
    }
}

impl Metrics {
    /// A pass ended.
    pub fn pass(&self, reason: Reason) {
        self.passes.get_or_create(&[("reason", reason.as_str())]).inc();
    }

    /// A step ended.
    pub fn step(&self, step: &Step, outcome: Outcome) {
        self.steps.get_or_create(&[("step", step.word()), ("outcome", outcome.as_str())]).inc();
    }

    /// A look ended after `took`.
    pub fn look(&self, looked: Looked, took: Duration) {
        let answer = match looked {
            Looked::Answered => "answered",
            Looked::Silent => "silent",
            Looked::LoginRefused => "login-refused",
        };
        self.looks.get_or_create(&[("answer", answer)]).observe(took.as_secs_f64());
    }

    /// A part of a change of the primary took so long.
    pub fn part(&self, part: Part, took: Duration) {
        self.parts.get_or_create(&[("part", part.as_str())]).observe(took.as_secs_f64());
    }

    /// Whether this process may act.
    pub fn leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// In the OpenMetrics text format. Error: none in practice; a writer to memory does not fail.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_in_the_text() {
        let metrics = Metrics::default();
        metrics.pass(Reason::Healthy);
        metrics.step(&Step::Route(None), Outcome::Done);
        metrics.look(Looked::Silent, Duration::from_secs(1));
        metrics.part(Part::Promoted, Duration::from_millis(300));
        metrics.leader(true);
        let text = metrics.text().unwrap();
        for line in [
            "quorate_passes_total{reason=\"Healthy\"} 1",
            "quorate_steps_total{step=\"Route\",outcome=\"done\"} 1",
            "quorate_look_seconds_count{answer=\"silent\"} 1",
            "quorate_failover_part_seconds_count{part=\"Promoted\"} 1",
            "quorate_leader 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
