//! A picture of a test's namespace, and waiting for what it should come to show.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sidestep_netlink::{Change, Config, Link, Options, Picture, Scope};
use sidestep_tests::netns::{Cable, Netns};
use std::io::Write as _;
use std::time::{Duration, Instant};

/// Every change must be seen in this time.
const WITHIN: Duration = Duration::from_secs(1);
/// But for what the kernel itself does over time.
const SLOWLY: Duration = Duration::from_secs(20);

/// Follows a namespace.
pub(crate) struct Follow {
    pub(crate) config: Config,
}

impl Follow {
    pub(crate) fn new(netns: &Netns) -> Self {
        Self::with(netns, &Options::default())
    }

    pub(crate) fn with(netns: &Netns, options: &Options) -> Self {
        let config = netns.inside(|| Config::open(options)).unwrap();
        Self { config }
    }

    pub(crate) fn picture(&self) -> &Picture {
        self.config.picture()
    }

    pub(crate) fn link(&self, name: &str) -> &Link {
        let found = self.picture().link_named(name);
        found.unwrap_or_else(|| panic!("no {name} in {:#?}", self.picture()))
    }

    /// Takes changes until one of them is as wanted, and returns it.
    pub(crate) fn change<T>(&mut self, what: &str, wanted: impl Fn(&Change) -> Option<T>) -> T {
        let deadline = Instant::now() + WITHIN;
        let mut seen = Vec::new();
        loop {
            seen.extend(self.config.process().unwrap());
            if let Some(found) = seen.iter().find_map(&wanted) {
                return found;
            }
            assert!(
                self.wait(deadline),
                "{what}: not within {WITHIN:?}, but {seen:#?}"
            );
        }
    }

    /// The index of a link that was just made.
    pub(crate) fn link_index(&mut self, name: &str) -> u32 {
        self.until(name, |picture| picture.link_named(name).is_some());
        self.link(name).index
    }

    /// Takes changes until the picture is as wanted, and returns what was told on the way.
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&Picture) -> bool) -> Vec<Change> {
        self.until_within(what, WITHIN, wanted)
    }

    /// The same for what the kernel itself takes long to do.
    pub(crate) fn until_slowly(
        &mut self,
        what: &str,
        wanted: impl Fn(&Picture) -> bool,
    ) -> Vec<Change> {
        self.until_within(what, SLOWLY, wanted)
    }

    fn until_within(
        &mut self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Picture) -> bool,
    ) -> Vec<Change> {
        let deadline = Instant::now() + within;
        let mut seen = Vec::new();
        loop {
            seen.extend(self.config.process().unwrap());
            if wanted(self.picture()) {
                return seen;
            }
            assert!(
                self.wait(deadline),
                "{what}: not within {within:?}, but {:#?}",
                self.picture()
            );
        }
    }

    pub(crate) fn routes_change(&mut self, what: &str) {
        self.change(what, |change| {
            (*change == Change::RoutesChanged).then_some(())
        });
    }

    /// Takes all that is there.
    pub(crate) fn settle(&mut self) {
        let settled = Instant::now() + Duration::from_millis(50);
        while self.wait(settled) {
            self.config.process().unwrap();
        }
    }

    /// Waits until there is something to process; false if it is too late.
    fn wait(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap();
        let mut fds = [PollFd::new(&self.config, PollFlags::IN)];
        poll(&mut fds, Some(&left)).unwrap() > 0
    }
}

/// A cable both of whose ends have come up, with addresses that are known to be unique.
pub(crate) fn settled_cable() -> Cable {
    let cable = Cable::new(1, 1500);
    for (netns, name) in [(&cable.near, "near0"), (&cable.far, "far0")] {
        Follow::new(netns).until_slowly("settled", |picture| {
            let running = picture.link_named(name).is_some_and(|link| link.running);
            let mut addresses = picture.addresses();
            let own = addresses.any(|address| address.scope == Scope::Link);
            running && own && picture.addresses().all(|address| !address.tentative)
        });
    }
    cable
}

/// Makes a link, or says aloud that this kernel has none of the kind.
pub(crate) fn made(netns: &Netns, words: &str) -> bool {
    let output = netns.try_run(words);
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        // Not by a macro that prints: what those print is shown only of tests that fail.
        let said = format!(
            "LEFT OUT: this kernel refuses `{words}`: {}
",
            why.trim()
        );
        std::io::stderr().write_all(said.as_bytes()).unwrap();
    }
    output.status.success()
}
