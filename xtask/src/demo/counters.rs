//! Whether accelerated counters moved while a load ran.

use super::Stage;
use serde_json::Value;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Asks the agent again and again until told to stop.
pub(super) struct Counters {
    stop: Arc<AtomicBool>,
    watcher: JoinHandle<u64>,
}

impl Counters {
    /// Begins to watch.
    pub(super) fn watch(stage: &Stage) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut ps = Command::new(&stage.sidestep);
        ps.args(["ps", "--json"])
            .env("SIDESTEP_RUNTIME_DIR", stage.runtime_dir());
        let before = frames_now(&mut ps);
        let stopped = Arc::clone(&stop);
        let watcher = std::thread::spawn(move || {
            let mut moved = 0;
            loop {
                let last = stopped.load(Ordering::Acquire);
                moved = moved.max(frames_now(&mut ps).saturating_sub(before));
                if last {
                    return moved;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { stop, watcher }
    }

    /// By how many frames the counters moved.
    pub(super) fn moved(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.watcher.join().unwrap_or(0)
    }
}

fn frames_now(ps: &mut Command) -> u64 {
    let output = ps.output().map(|output| output.stdout).unwrap_or_default();
    serde_json::from_slice(&output).map_or(0, |report| frames(&report))
}

/// All frames that a report counts as sent by a stack over a wire.
pub(super) fn frames(report: &Value) -> u64 {
    match report {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match name.as_str() {
                "tx_frames" => value.as_u64().unwrap_or(0),
                _ => frames(value),
            })
            .sum(),
        Value::Array(items) => items.iter().map(frames).sum(),
        _ => 0,
    }
}
