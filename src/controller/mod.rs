//! The shell around `decide`: observe, decide, act, report; one loop per group.

mod backoff;
mod instances;
mod memory;
