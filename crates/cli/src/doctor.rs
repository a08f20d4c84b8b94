//! `sidestep doctor`: what can be accelerated on this machine, what cannot, and how to change it.
//!
//! Each check tries the thing itself where that is harmless, rather than reading what ought to be there.

mod cards;
mod checks;
#[cfg(test)]
mod tests;

use crate::output;
use clap::Args;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  sidestep doctor
  sidestep doctor --json | python3 -m json.tool

Exit status:
  0 programs of this host can be accelerated; 1 they cannot, and the lines marked 'missing' say why.";

/// Say what can be accelerated on this machine, what cannot, and how to change that.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Doctor {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// How well it is with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it should be.
    Ok,
    /// It works, with less to gain.
    Limited,
    /// It does not work.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: Cow<'static, str>,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// A command or sentence that changes it.
    change: Option<String>,
}

impl Check {
    fn ok(name: impl Into<Cow<'static, str>>, found: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            verdict: Verdict::Ok,
            found: found.into(),
            change: None,
        }
    }

    fn limited(
        name: impl Into<Cow<'static, str>>,
        found: impl Into<String>,
        change: impl Into<String>,
    ) -> Self {
        let change = Some(change.into());
        Self {
            name: name.into(),
            verdict: Verdict::Limited,
            found: found.into(),
            change,
        }
    }

    fn missing(
        name: impl Into<Cow<'static, str>>,
        found: impl Into<String>,
        change: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Missing,
            ..Self::limited(name, found, change)
        }
    }
}

/// Everything that was looked at.
#[derive(Debug, Serialize)]
struct Findings {
    /// Whether programs of this host can be accelerated towards each other.
    local_works: bool,
    local: Vec<Check>,
    /// What network interfaces need, and which there are.
    cards: Vec<Check>,
}

impl Findings {
    fn new(local: Vec<Check>, cards: Vec<Check>) -> Self {
        let local_works = local.iter().all(|check| check.verdict != Verdict::Missing);
        Self {
            local_works,
            local,
            cards,
        }
    }

    fn text(&self) -> String {
        let mut text =
            String::from("Programs of this host, towards each other (no privilege needed)\n");
        list(&mut text, &self.local);
        text.push_str("\nNetwork interfaces, by AF_XDP (the agent needs root, programs do not)\n");
        list(&mut text, &self.cards);
        text.push_str(if self.local_works {
            "\nLocal acceleration works: try `sidestep run -- PROGRAM`.\n"
        } else {
            "\nLocal acceleration does not work: see the lines marked 'missing'.\n"
        });
        text
    }
}

fn list(text: &mut String, checks: &[Check]) {
    for Check {
        name,
        verdict,
        found,
        change,
    } in checks
    {
        let verdict = match verdict {
            Verdict::Ok => "ok",
            Verdict::Limited => "limited",
            Verdict::Missing => "missing",
        };
        let _ = writeln!(text, "  {verdict:<8} {name:<18} {found}");
        if let Some(change) = change {
            let _ = writeln!(text, "  {:<8} {:<18} -> {change}", "", "");
        }
    }
}

/// Looks at everything and says what was found.
pub(crate) fn main(args: &Doctor) -> anyhow::Result<ExitCode> {
    let mut local = checks::machine();
    local.push(checks::agent());
    let findings = Findings::new(local, cards::all());
    if args.json {
        output::print_json(&findings)?;
    } else {
        output::print(&findings.text())?;
    }
    Ok(if findings.local_works {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
