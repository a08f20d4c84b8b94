//! Signal handlers that make socket calls while their thread is in the middle of one: see `c/handlers.c`.

use std::time::Duration;

use sidestep_tests::{Mode, World, free_port, wait_until};

/// The calls of one case are all there is between two signals; a handler that waits for its own thread never ends.
const PATIENCE: Duration = Duration::from_secs(40);

fn play(case: &str, mode: Mode) {
    let world = World::new(mode);
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/c/handlers.c");
    let program = world.dir().join("handlers");
    let cc = world.plain("cc").args("-O1 -Wall -pthread -o");
    cc.arg(&program).arg(source).run(PATIENCE).success();
    let program = world.server(&program.display().to_string());
    let mut program = program.arg(case).arg(free_port().to_string()).spawn();
    wait_until("the case's last word", PATIENCE, || {
        let said = program.stdout().ends_with(": all right\n");
        (said || !program.is_running()).then_some(())
    });
    assert!(program.is_running(), "{}", program.last_words());
    if mode != Mode::Kernel {
        world.ps().assert_wire_used(program.pid());
    }
}

macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        $(
            mod $case {
                use super::*;

                #[test]
                #[ignore = "needs cc"]
                fn both() {
                    play(stringify!($case), Mode::both());
                }

                #[test]
                #[ignore = "needs cc"]
                fn kernel() {
                    play(stringify!($case), Mode::kernel());
                }
            }
        )+
    };
}

cases!(
    allocations,
    blocking_handlers,
    interrupts,
    jumps,
    old_ways,
    once,
    queues,
    stacks,
    timers_interrupting,
    timers_nested,
    timers_restarting,
);
