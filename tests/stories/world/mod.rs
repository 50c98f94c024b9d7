//! The world a story plays in: a control plane, nodes, a network, clients and what may go wrong.
#![allow(dead_code)]

pub mod apiserver;
pub mod clock;
pub mod cluster;
pub mod containers;
pub mod effects;
pub mod history;
pub mod random;
pub mod sql_door;
pub mod sql_host;

use apiserver::ApiServer;
use clock::Clock;
use history::History;
use random::Random;

/// The bare control plane of one story: a clock, a history, an API server with its garbage collector.
pub struct ControlPlane {
    /// Virtual time.
    pub clock: Clock,
    /// What happened.
    pub history: History,
    /// The seed's stream.
    pub random: Random,
    /// The API server.
    pub api: ApiServer,
}

impl ControlPlane {
    /// Starts a control plane; the runtime's clock must be paused.
    pub fn start(seed: u64) -> Self {
        let clock = Clock::start();
        let history = History::new(clock);
        let random = Random::new(seed);
        let api = ApiServer::new(clock, history.clone(), &random);
        tokio::spawn(apiserver::garbage::collect(api.clone()));
        Self { clock, history, random, api }
    }
}
