//! Figures of the lab on this machine, with their conditions; never a test.

use std::fs;
use std::time::Instant;

use serde_json::json;

use crate::error::{AtPath as _, Result};
use crate::layout::Layout;
use crate::progress::Progress;
use crate::{binaries, cluster, kubectl};

const ROUNDS: usize = 3;

/// Times `up` from nothing and `down`, a few times each, and weighs the cluster; leaves the lab down.
pub(crate) fn run(layout: &Layout, progress: Progress) -> Result<()> {
    binaries::ensure(progress)?;
    let (mut up, mut down, mut call) = (vec![], vec![], vec![]);
    let mut memory = crate::processes::Memory::default();
    for round in 1..=ROUNDS {
        cluster::down(layout, true, progress)?;
        progress.say(format!("round {round} of {ROUNDS}"));
        up.push(timed(|| cluster::up(layout, progress))?);
        call.push(timed(|| kubectl::output(layout, &["get", "nodes"]).map(drop))?);
        memory = cluster::memory(layout);
        down.push(timed(|| cluster::down(layout, false, progress))?);
    }
    cluster::down(layout, true, progress)?;
    let text = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let report = json!({
        "date": jiff::Zoned::now().to_string(),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": text("/proc/sys/kernel/osrelease").trim(),
        "memory_total_kib": text("/proc/meminfo").split_whitespace().nth(1).unwrap_or_default(),
        "up_seconds": up,
        "down_seconds": down,
        "kubectl_get_nodes_seconds": call,
        "resident_mib": memory.resident / 1024,
        "proportional_mib": memory.proportional / 1024,
    });
    let directory = binaries::workspace()?.join("target");
    fs::create_dir_all(&directory).at(&directory)?;
    let file = directory.join("bench.json");
    fs::write(&file, format!("{report:#}\n")).at(&file)?;
    println!("{report:#}");
    progress.say(format!("written to {}", file.display()));
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    work()?;
    Ok((began.elapsed().as_secs_f64() * 100.0).round() / 100.0)
}
