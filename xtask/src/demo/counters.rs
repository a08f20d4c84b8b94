//! Whether accelerated counters moved while a load ran.

use super::Stage;
use serde_json::Value;
use std::collections::BTreeMap;
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
            // Often at first, for loads that bring their own server and take it with them; then seldom, for asking
            // takes time from what is measured.
            let mut pause = Duration::from_millis(150);
            loop {
                std::thread::park_timeout(pause);
                pause *= 2;
                let last = stopped.load(Ordering::Acquire);
                moved = moved.max(growth(&before, &frames_now(&mut ps)));
                if last {
                    return moved;
                }
            }
        });
        Self { stop, watcher }
    }

    /// By how many frames the counters moved.
    pub(super) fn moved(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.watcher.thread().unpark();
        self.watcher.join().unwrap_or(0)
    }
}

fn frames_now(ps: &mut Command) -> Frames {
    let output = ps.output().map(|output| output.stdout).unwrap_or_default();
    serde_json::from_slice(&output)
        .map(|report: Value| frames(&report))
        .unwrap_or_default()
}

/// Frames that each stack has sent, by its identity. A stack that could not be looked into is absent.
pub(super) type Frames = BTreeMap<String, u64>;

/// What a report says of them.
pub(super) fn frames(report: &Value) -> Frames {
    let stacks = report["stacks"].as_array().into_iter().flatten();
    let sent = stacks.filter_map(|stack| {
        Some((
            stack["id"].as_str()?.to_owned(),
            stack["counters"]["tx_frames"].as_u64()?,
        ))
    });
    sent.collect()
}

/// By how much stacks have moved on; those that ended since count for nothing.
pub(super) fn growth(before: &Frames, after: &Frames) -> u64 {
    let grown = |(id, now): (&String, &u64)| now - before.get(id).copied().unwrap_or(0).min(*now);
    after.iter().map(grown).sum()
}
