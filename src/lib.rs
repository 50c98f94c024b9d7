//! Quorate: an operator for SQL Server Always On availability groups.
//!
//! | Module | What it holds |
//! |---|---|
//! | [`model`] | the vocabulary |
//! | [`api`] | the contract with users: custom resources, and spec to model |
//! | [`decide`] | the policy: observation in, plan out; pure |
//! | [`resources`] | model to Kubernetes objects; pure |
//! | [`sql`] | the only door to SQL Server |
//! | [`k8s`] | the only door to Kubernetes |
//! | [`leader`] | who may act |
//! | [`controller`] | the shell: observe, decide, act, report |
//! | [`telemetry`] | logs, metrics, health |

#![warn(missing_docs)]

pub mod api;
pub mod cli;
pub mod controller;
pub mod decide;
pub mod k8s;
pub mod leader;
pub mod model;
pub mod resources;
pub mod sql;
pub mod telemetry;
