//! Which stack serves which endpoint of this host, and which addresses are this host's: one table in memory that the
//! agent writes and every program maps read-only, so that `connect` asks nobody.
//!
//! ```text
//! word 0   magic and version          agent, once
//!      1   the agent's generation     agent, once
//!      2   the agent's process        agent, once
//!      3   sequence                   agent; odd while the table is being changed
//!      4   entries in use             agent
//!      5   networks                   agent; 0 where it has none, else changes with their configuration
//!      6…15                           unused
//! then SLOTS entries of 8 words, found by hash and linear probing:
//!      0   kind, flags, port; 0 = empty, which ends a probe
//!      1   network namespace
//!      2,3 address
//!      4   stack
//!      5   how often it was published
//!      6,7 unused
//! ```
//! Readers copy what they find and look at the sequence before and after: a change meanwhile, and they look again. A
//! sequence that stays odd is an agent that died while it wrote; readers say so instead of waiting.

mod reader;
mod sys;
mod table;
mod writer;

pub use reader::{Directory, DirectoryLost, MATCHES_MAX, Matches};
pub use writer::{DirectoryWriter, PublishError};

#[cfg(test)]
mod tests;
