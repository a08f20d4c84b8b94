//! Python scripts whose every call must return what it returns over the kernel. They need nothing but python3.

use sidestep_tests::Mode;
use sidestep_tests::differential::{Place, compare};

/// Makes the tests of a script: both ends, each end alone, both ends in one process, and the kernel against itself,
/// which shows that the script's transcript is the same each time.
macro_rules! scripts {
    ($($script:ident),+ $(,)?) => {
        $(
            mod $script {
                use super::*;

                #[test]
                fn both() {
                    compare(stringify!($script), Mode::both(), Place::TwoProcesses);
                }

                #[test]
                fn server_only() {
                    compare(stringify!($script), Mode::server_only(), Place::TwoProcesses);
                }

                #[test]
                fn client_only() {
                    compare(stringify!($script), Mode::client_only(), Place::TwoProcesses);
                }

                #[test]
                fn one_process() {
                    compare(stringify!($script), Mode::both(), Place::OneProcess);
                }

                #[test]
                fn kernel() {
                    compare(stringify!($script), Mode::kernel(), Place::TwoProcesses);
                }
            }
        )+
    };
}

scripts!(
    ancillary,
    blocking,
    churn,
    closing,
    datagrams,
    duplicates,
    epolls,
    errors,
    families,
    flags,
    loops,
    nonblocking,
    options,
    urgent,
    prefork,
    readiness,
    subprocesses,
    threads,
    timestamps,
    transfers,
    vectors,
);
