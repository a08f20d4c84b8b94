//! What one test has for itself: a directory, an agent, a mode; and its turn, since tests of a program run one by one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Mode, Process, Program, Ps, TempDir, wait_until};

/// Everything that a test starts lives in one of these and ends with it.
#[derive(Debug)]
pub struct World {
    mode: Mode,
    dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl World {
    /// A world in this mode, when it is this test's turn. Panics if `sidestep` has to be built first.
    pub fn new(mode: Mode) -> Self {
        let turn = turn();
        if mode != Mode::Kernel {
            sidestep();
        }
        let world = Self {
            mode,
            dir: TempDir::new(),
            _turn: turn,
        };
        fs::create_dir(world.dir.path().join("log")).expect("a new directory");
        fs::create_dir(world.explanations()).expect("a new directory");
        world
    }

    /// Which ends are accelerated.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The test's own directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the agent of this world lives. Made private by whoever makes it.
    pub fn runtime_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// Writes a file in the test's directory and says where it is.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content)
            .unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        path
    }

    /// A program at the server's end; accelerated if the mode says so.
    pub fn server(&self, program: &str) -> Program {
        if self.mode.server() {
            self.accelerated(program)
        } else {
            self.plain(program)
        }
    }

    /// A program at the client's end; accelerated if the mode says so.
    pub fn client(&self, program: &str) -> Program {
        if self.mode.client() {
            self.accelerated(program)
        } else {
            self.plain(program)
        }
    }

    /// A program at the client's end that is to write down where its sockets went, for
    /// [`assert_reasons_given`](Self::assert_reasons_given), if it alone is accelerated.
    pub fn explained_client(&self, program: &str) -> Program {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if self.mode != Mode::ClientOnly {
            return self.client(program);
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let log = self.explanations().join(number.to_string());
        let words = [
            sidestep().display().to_string(),
            "run".into(),
            "--explain".into(),
            "--log".into(),
            log.display().to_string(),
            "--".into(),
            find(program).display().to_string(),
        ];
        self.program(program, &words)
    }

    /// Asserts that the explained clients, of which there was one at least, left every connection and datagram to the
    /// kernel because nobody accelerated serves the destination, if that is what the mode says.
    pub fn assert_reasons_given(&self) {
        if self.mode != Mode::ClientOnly {
            return;
        }
        let logs = fs::read_dir(self.explanations()).expect("made with the world");
        let logs: Vec<String> = logs
            .flatten()
            .map(|log| fs::read_to_string(log.path()).unwrap_or_default())
            .collect();
        let ways = [" connect ", " send "];
        let sockets: Vec<&str> = logs
            .iter()
            .flat_map(|log| log.lines())
            .filter(|line| ways.iter().any(|way| line.contains(way)))
            .collect();
        assert!(
            !sockets.is_empty(),
            "no client said where it went: {logs:?}"
        );
        for line in sockets {
            assert!(
                line.ends_with(": kernel, no accelerated program serves the destination"),
                "{line}"
            );
        }
    }

    /// Where explained clients write.
    fn explanations(&self) -> PathBuf {
        self.dir.path().join("explained")
    }

    /// A program over the kernel, whatever the mode.
    pub fn plain(&self, program: &str) -> Program {
        self.program(program, &[find(program).display().to_string()])
    }

    /// A program under `sidestep run`; over the kernel only where no mode is to be accelerated.
    pub fn accelerated(&self, program: &str) -> Program {
        if self.mode == Mode::Kernel {
            return self.plain(program);
        }
        let words = [
            sidestep().display().to_string(),
            "run".into(),
            "--".into(),
            find(program).display().to_string(),
        ];
        self.program(program, &words)
    }

    /// A program under `sidestep run` after a shell has lowered its limits with `ulimit LIMITS`.
    pub fn accelerated_with_ulimit(&self, limits: &str, program: &str) -> Program {
        if self.mode == Mode::Kernel {
            return self.plain_with_ulimit(limits, program);
        }
        self.with_ulimit(limits, &format!("{} run --", sidestep().display()), program)
    }

    /// A program over the kernel after a shell has lowered its limits with `ulimit LIMITS`.
    pub fn plain_with_ulimit(&self, limits: &str, program: &str) -> Program {
        self.with_ulimit(limits, "", program)
    }

    /// Waits until the report says what the mode promises of two programs that talk; it must before the client ends.
    pub fn wait_mode(&self, server: &Process, client: &mut Process) {
        loop {
            let is_over = !client.is_running();
            let ps = self.ps();
            if ps.is_mode(self.mode, server.pid(), client.pid()) {
                return;
            }
            assert!(
                !is_over,
                "the client ended before its counters moved; last seen: {ps:#?}\n{}",
                client.last_words()
            );
        }
    }

    fn with_ulimit(&self, limits: &str, run: &str, program: &str) -> Program {
        let script = format!(
            "ulimit {limits} && exec {run} {} \"$@\"",
            find(program).display()
        );
        self.program(
            program,
            &["/bin/sh".into(), "-c".into(), script, program.into()],
        )
    }

    /// Where the `sidestep` command is, for tests that run one of its subcommands as a program.
    pub fn sidestep_path() -> String {
        sidestep().display().to_string()
    }

    /// The `sidestep` command itself, in this world.
    pub fn sidestep(&self) -> Program {
        self.program("sidestep", &[sidestep().display().to_string()])
    }

    /// What the agent of this world reports now; asks again while a stack is too busy to be looked into.
    pub fn ps(&self) -> Ps {
        wait_until(
            "a report without busy stacks",
            Duration::from_secs(10),
            || Some(self.glance()).filter(|ps| !ps.is_busy()),
        )
    }

    /// What the agent of this world reports now, stacks that are too busy to be looked into among it.
    pub fn glance(&self) -> Ps {
        if self.mode == Mode::Kernel {
            return Ps::default();
        }
        let ps = self.sidestep().args("ps --json");
        Ps::parse(&ps.run(Duration::from_secs(10)).success().text())
    }

    fn program(&self, program: &str, words: &[String]) -> Program {
        let name = Path::new(program)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Program::new(&name, words, &self.dir.path().join("log"))
            .env("SIDESTEP_RUNTIME_DIR", self.runtime_dir())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.mode == Mode::Kernel {
            return;
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.runtime_dir().join("agent.log")).unwrap_or_default();
            println!("--- agent.log ---\n{log}");
        }
        let mut stop = self.sidestep().args("agent stop").spawn();
        let deadline = crate::Deadline::after(Duration::from_secs(3));
        while stop.is_running() && !deadline.passed() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Waits until it is this test's turn, which it keeps as long as the value.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed has given its turn back, and its processes are gone: the next may go on.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The `sidestep` command under test; panics if it has to be built first.
pub(crate) fn sidestep() -> PathBuf {
    let path = match std::env::var_os("SIDESTEP_BIN") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/sidestep"),
    };
    let path = path.canonicalize().unwrap_or(path);
    let library = path.with_file_name("libsidestep.so");
    for needed in [&path, &library] {
        assert!(
            needed.exists(),
            "{} is missing: run `cargo xtask build` first",
            needed.display()
        );
    }
    path
}

/// Where a program is; panics with the name of what is missing. Debian's own comes before others on the path.
pub(crate) fn find(program: &str) -> PathBuf {
    if program.contains('/') {
        return PathBuf::from(program);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from);
    let places = debian.into_iter().chain(std::env::split_paths(&path));
    let found = places
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| {
        panic!("{program} is not installed; `cargo xtask test` as root installs it")
    })
}
