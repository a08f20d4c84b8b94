//! Links as people describe them: `loss=1%,delay=20ms,in.rate=10mbit`.

use super::link::{Burst, LinkConfig};
use sidestep_shm::Nanos;
use std::str::FromStr;

/// What every burst is like: ten frames long on average, of which all are lost.
const BURST_END_PPM: u32 = 100_000;
const BURST_LOSS_PPM: u32 = 1_000_000;
/// How much later a frame is at least that others overtake.
const REORDER_MIN: Nanos = Nanos::from_millis(1);
/// What waits for a rate, where nothing is said: a tenth of a second of it, and not less than this.
const QUEUE_BYTES_MIN: u64 = 30_000;

/// What is done to the frames of a stack: those that go out, and those that come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The way out, and the way in.
    pub links: [LinkConfig; 2],
    /// What chance depends on.
    pub seed: u64,
    /// As it was written.
    pub text: String,
}

/// What is wrong with a description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {what}")]
pub struct SpecError {
    part: String,
    what: &'static str,
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut spec = Self {
            links: [LinkConfig::PERFECT; 2],
            seed: 1,
            text: text.to_owned(),
        };
        for part in text.split(',') {
            spec.take(part.trim()).map_err(|what| SpecError {
                part: part.trim().to_owned(),
                what,
            })?;
        }
        for link in &mut spec.links {
            link.reorder_by = link.delay.max(REORDER_MIN);
            if link.queue_bytes == 0 {
                link.queue_bytes = (link.rate_bps / 80).max(QUEUE_BYTES_MIN);
            }
        }
        Ok(spec)
    }
}

impl Spec {
    fn take(&mut self, part: &str) -> Result<(), &'static str> {
        let (key, value) = part.split_once('=').ok_or("say KEY=VALUE")?;
        if key == "seed" {
            self.seed = value.parse().map_err(|_| "not a number")?;
            return Ok(());
        }
        let (ways, key) = match key.split_once('.') {
            Some(("out", key)) => (0..1, key),
            Some(("in", key)) => (1..2, key),
            Some(_) => return Err("a direction is `in` or `out`"),
            None => (0..2, key),
        };
        for link in &mut self.links[ways] {
            match key {
                "loss" => link.loss_ppm = chance(value)?,
                "burst" => {
                    link.burst = Burst {
                        begin_ppm: chance(value)?,
                        end_ppm: BURST_END_PPM,
                        loss_ppm: BURST_LOSS_PPM,
                    };
                }
                "delay" => link.delay = time(value)?,
                "jitter" => link.jitter = time(value)?,
                "reorder" => link.reorder_ppm = chance(value)?,
                "duplicate" => link.duplicate_ppm = chance(value)?,
                "corrupt" => link.corrupt_ppm = chance(value)?,
                "rate" => link.rate_bps = scaled(value, &RATES)?,
                "queue" => link.queue_bytes = scaled(value, &SIZES)?,
                _ => {
                    return Err(
                        "no such key: loss, burst, delay, jitter, reorder, duplicate, corrupt, rate, queue or seed",
                    );
                }
            }
        }
        Ok(())
    }
}

const RATES: [(&str, f64); 3] = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)];
const SIZES: [(&str, f64); 2] = [("kb", 1e3), ("mb", 1e6)];
const TIMES: [(&str, f64); 3] = [("us", 1e3), ("ms", 1e6), ("s", 1e9)];

/// A percentage, in parts per million.
fn chance(value: &str) -> Result<u32, &'static str> {
    let percent = value
        .strip_suffix('%')
        .ok_or("say a percentage, as in 1%")?;
    let percent: f64 = percent.parse().map_err(|_| "not a number")?;
    if !(0.0..=100.0).contains(&percent) {
        return Err("from 0% to 100%");
    }
    u32::try_from(whole(percent * 1e4)).map_err(|_| "from 0% to 100%")
}

fn time(value: &str) -> Result<Nanos, &'static str> {
    let time = scaled(value, &TIMES).map_err(|_| "say a time, as in 20ms: us, ms or s")?;
    let time = Nanos(time);
    if time > Nanos::from_secs(60) {
        return Err("a minute at most");
    }
    Ok(time)
}

/// A number with one of the units.
fn scaled(value: &str, units: &[(&str, f64)]) -> Result<u64, &'static str> {
    let found = units.iter().find_map(|(unit, factor)| {
        let number: f64 = value.strip_suffix(unit)?.parse().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number * factor)
    });
    let found = found
        .ok_or("say a number and a unit: kbit, mbit or gbit for a rate, kb or mb for a queue")?;
    Ok(whole(found))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "such casts saturate, and nothing negative comes here"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Spec>().expect_err("it is wrong").to_string()
    }

    #[test]
    fn every_key_is_understood() {
        let text = "loss=1%,burst=0.5%,delay=20ms,jitter=500us,reorder=2%,duplicate=3%,corrupt=0.01%,rate=10mbit,queue=64kb,seed=9";
        let spec: Spec = text.parse().expect("it is right");
        let link = spec.links[0];
        assert_eq!(spec.links[1], link);
        assert_eq!((link.loss_ppm, link.burst.begin_ppm), (10_000, 5000));
        assert_eq!(link.delay, Nanos::from_millis(20));
        assert_eq!(link.jitter, Nanos::from_micros(500));
        assert_eq!((link.reorder_ppm, link.reorder_by), (20_000, link.delay));
        assert_eq!((link.duplicate_ppm, link.corrupt_ppm), (30_000, 100));
        assert_eq!((link.rate_bps, link.queue_bytes), (10_000_000, 64_000));
        assert_eq!((spec.seed, spec.text.as_str()), (9, text));
    }

    #[test]
    fn directions_are_apart() {
        let spec: Spec = "out.loss=5%,in.delay=1s,in.rate=1gbit"
            .parse()
            .expect("it is right");
        let [out, back] = spec.links;
        assert_eq!((out.loss_ppm, out.delay), (50_000, Nanos::ZERO));
        assert_eq!((back.loss_ppm, back.delay), (0, Nanos::from_secs(1)));
        assert_eq!(back.queue_bytes, 12_500_000);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(error("loss"), "loss: say KEY=VALUE");
        assert_eq!(error("loss=1"), "loss=1: say a percentage, as in 1%");
        assert_eq!(error("loss=101%"), "loss=101%: from 0% to 100%");
        assert!(error("delay=20").contains("20ms"));
        assert!(error("delay=1s,up.loss=1%").contains("`in` or `out`"));
        assert!(error("speed=1gbit").contains("no such key"));
        assert!(error("rate=fast").contains("mbit"));
        assert!(error("delay=2000s").contains("minute"));
    }
}
