//! What a test program prints, read.

use crate::packages;

/// How a test begins to say that it cannot do here what it is for; libtest counts it as passed all the same.
const LEFT_OUT: &str = "LEFT OUT: ";

/// What came of one run of one program.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(super) passed: u64,
    pub(crate) failed: u64,
    pub(super) failures: Vec<String>,
    pub(super) ignored: Vec<Ignored>,
    /// What tests say, while they run, that they leave out here, and why.
    pub(super) left_out: Vec<String>,
    /// A line of results was seen.
    pub(crate) complete: bool,
    /// What was printed, in lines.
    pub(super) said: String,
}

/// A test that does not run by itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ignored {
    pub(super) name: String,
    pub(super) reason: String,
}

impl Ignored {
    /// Whether the programs that the reason names are here, and root if it asks for it. One that says nothing of
    /// needs is meant to be run by hand.
    pub(super) fn needs_are_met(&self, is_root: bool) -> bool {
        let mut words = self
            .reason
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        words.next() == Some("needs")
            && words.all(|word| match word {
                "root" => is_root,
                program if packages::known().any(|known| known == program) => {
                    packages::find(program).is_some()
                }
                _ => true,
            })
    }
}

impl Outcome {
    /// The program could not be run at all.
    pub(crate) fn broken(why: &str) -> Self {
        let mut outcome = Self::default();
        outcome.fail(why);
        outcome
    }

    /// Adds a failure that the program itself did not report.
    pub(crate) fn fail(&mut self, why: &str) {
        self.say(why);
        self.failed += 1;
        self.failures.push(why.to_owned());
    }

    /// Adds a line to what is shown.
    pub(super) fn say(&mut self, line: &str) {
        self.said.push_str(line);
        self.said.push('\n');
    }

    /// Takes one line of output.
    pub(crate) fn read(&mut self, line: &str) {
        self.say(line);
        if let Some((_, what)) = line.split_once(LEFT_OUT) {
            self.left_out.push(what.to_owned());
            return;
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            self.complete = true;
            let mut words = result.split([' ', ';']);
            let mut before = "";
            for word in &mut words {
                match word {
                    "passed" => self.passed += before.parse().unwrap_or(0),
                    "failed" => self.failed += before.parse().unwrap_or(0),
                    _ => {}
                }
                before = word;
            }
            return;
        }
        let Some((name, result)) = line
            .strip_prefix("test ")
            .and_then(|line| line.rsplit_once(" ... "))
        else {
            return;
        };
        let name = name.to_owned();
        if result == "FAILED" {
            self.failures.push(name);
        } else if let Some(reason) = result.strip_prefix("ignored") {
            let reason = reason.trim_start_matches(", ").to_owned();
            self.ignored.push(Ignored { name, reason });
        }
    }
}
