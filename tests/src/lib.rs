//! A harness that runs real programs with and without `sidestep run`, and nothing about what they do.
//!
//! A test makes a [`World`]: a directory, a runtime directory and so an agent of its own, and a [`Mode`] that says
//! which ends are accelerated. It starts programs in it ([`Program`], [`Process`]), waits for what it wants to see
//! with a deadline on every wait, and reads what the agent reports ([`Ps`]). Whatever a test started dies with its
//! `World`. Scripts in `python/` that print what every call returned are run by [`differential`]. A [`Network`] is the
//! same for programs on two hosts.
//!
//! The environment can say: `SIDESTEP_TEST_MODE=kernel` runs every test over the kernel, which tries the tests
//! themselves; `SIDESTEP_BIN` names the `sidestep` command to use; `SIDESTEP_SOAK_SECONDS` lengthens the soak, and
//! `SIDESTEP_BULK_MESSAGES` the stream of small messages over a network.
//!
//! Failures are panics with what the programs last wrote: this is test code and has no caller to hand an error to.
#![forbid(unsafe_code)]

mod clock;
pub mod differential;
mod files;
mod mode;
mod net;
pub mod netns;
mod network;
mod process;
mod ps;
mod seed;
mod world;

pub use clock::{Deadline, wait_until};
pub use files::{TempDir, pattern};
pub use mode::Mode;
pub use net::{free_port, free_ports, is_bound_udp, is_listening, wait_bound_udp, wait_listening};
pub use network::{Host, Network};
pub use process::{Output, Process, Program};
pub use ps::{Agent, Handover, Holder, Ps, Socket, Stack, Wire};
pub use seed::Seed;
pub use world::World;

/// Makes a module named as the test function, with one `#[test]` for each mode named.
///
/// With a literal in front, each is ignored with that reason and runs only with `--include-ignored`.
#[macro_export]
macro_rules! in_modes {
    ($why:literal, $test:ident: $($mode:ident),+ $(,)?) => {
        mod $test {
            $(
                #[test]
                #[ignore = $why]
                fn $mode() {
                    super::$test($crate::Mode::$mode());
                }
            )+
        }
    };
    ($test:ident: $($mode:ident),+ $(,)?) => {
        mod $test {
            $(
                #[test]
                fn $mode() {
                    super::$test($crate::Mode::$mode());
                }
            )+
        }
    };
}
