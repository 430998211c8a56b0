//! The storm: what happens to whom, at moments drawn from the seed.
//!
//! Invariants: one broker at a time is away, so that a majority can always answer; the plan depends
//! on the seed alone, and every blow is told with its time, so that a run can be understood.

use super::{
    Options, Weather,
    instance::{Instance, Standing},
};
use anyhow::{Context, Result, ensure};
use millstream_log::Rng;
use std::time::Duration;

/// How the members' session is set, in milliseconds: a frozen one is thrown out after it.
pub(super) const SESSION_MS: u64 = 6_000;
/// Between two blows, at most.
const GAP_MS: u64 = 6_000;
/// How long a killed instance stays away, at most: past its session, so that the others take over.
const AWAY_MS: u64 = 9_000;
/// How long a broker or the database stays away, at most.
const SERVER_AWAY_MS: u64 = 8_000;
/// How long a frozen instance stays so beyond its session, at most.
const FROZEN_MS: u64 = 5_000;

/// A kind of blow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    Kill,
    Stop,
    Freeze,
    Broker,
    Database,
}

/// What ends a blow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Start(usize),
    Thaw(usize),
    Broker(usize),
    Database,
}

/// What a storm came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) kills: usize,
    pub(super) freezes: usize,
    pub(super) broker_losses: usize,
    /// Instances that ended although nobody had asked them to.
    pub(super) deaths: usize,
}

/// The blows of a run, in the order in which they fall.
fn plan(options: &Options, rng: &mut Rng) -> Vec<Blow> {
    let database = if options.database {
        1 + options.kills / 25
    } else {
        0
    };
    let counts = [
        (Blow::Kill, options.kills),
        (Blow::Stop, options.kills.div_ceil(5)),
        (Blow::Freeze, options.freezes),
        (Blow::Broker, options.broker_losses),
        (Blow::Database, database),
    ];
    let blows = counts.into_iter();
    let mut blows: Vec<_> = blows
        .flat_map(|(blow, count)| std::iter::repeat_n(blow, count))
        .collect();
    for last in (1..blows.len()).rev() {
        blows.swap(last, rng.index(last + 1));
    }
    blows
}

/// A storm over these instances.
pub(super) struct Storm<'a> {
    weather: &'a Weather<'a>,
    instances: &'a mut [Instance],
    rng: Rng,
    due: Vec<(Duration, After)>,
    tally: Tally,
}

impl<'a> Storm<'a> {
    pub(super) fn new(weather: &'a Weather<'a>, instances: &'a mut [Instance], seed: u64) -> Self {
        Self {
            weather,
            instances,
            rng: Rng::new(seed),
            due: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Lets it blow; at its end every instance and every server runs again.
    pub(super) fn blow(mut self) -> Result<Tally> {
        let mut plan = plan(self.weather.options, &mut self.rng);
        while let Some(blow) = plan.pop() {
            let gap = self.millis(GAP_MS);
            self.pass(gap)?;
            while !self.strike(blow)? {
                let (at, _) =
                    self.due.iter().min_by_key(|(at, _)| *at).copied().context(
                        "nothing is left to strike, and nothing will come back by itself",
                    )?;
                let wait = at.saturating_sub(self.weather.elapsed());
                self.pass(wait)?;
            }
        }
        while let Some((at, _)) = self.due.iter().max_by_key(|(at, _)| *at).copied() {
            let wait = at.saturating_sub(self.weather.elapsed());
            self.pass(wait)?;
        }
        Ok(self.tally)
    }

    fn millis(&mut self, below: u64) -> Duration {
        Duration::from_millis(self.rng.below(below))
    }

    /// Lets time pass, and what is due in it happen.
    fn pass(&mut self, time: Duration) -> Result<()> {
        let end = self.weather.elapsed() + time;
        loop {
            self.weather.in_time()?;
            let now = self.weather.elapsed();
            let due = self.due.iter().position(|(at, _)| *at <= now);
            if let Some(due) = due {
                let (_, after) = self.due.swap_remove(due);
                self.recover(after)?;
                continue;
            }
            self.look_after()?;
            if now >= end {
                return Ok(());
            }
            self.weather.pause(end - now);
        }
    }

    /// Starts again what has died by itself, and counts it.
    fn look_after(&mut self) -> Result<()> {
        for (number, instance) in self.instances.iter_mut().enumerate() {
            if let Err(error) = instance.lives() {
                let said = format!("{error:#}");
                let last = said.lines().rev().find(|line| !line.trim().is_empty());
                let last = last.unwrap_or_default().trim();
                self.weather.say(&format!("instance {number} DIED: {last}"));
                self.tally.deaths += 1;
                instance.start()?;
            }
        }
        Ok(())
    }

    /// Strikes, if there is anybody to be struck.
    fn strike(&mut self, blow: Blow) -> Result<bool> {
        if blow == Blow::Broker {
            return self.strike_broker();
        }
        if blow == Blow::Database {
            return self.strike_database();
        }
        let up: Vec<usize> = (self.instances.iter().enumerate())
            .filter(|(_, instance)| instance.standing() == Standing::Up)
            .map(|(number, _)| number)
            .collect();
        if up.is_empty() {
            return Ok(false);
        }
        let number = up[self.rng.index(up.len())];
        // Half of them come back before anybody has noticed.
        let mut away = self.millis(AWAY_MS);
        if self.rng.chance(0.5) {
            away /= 30;
        }
        let instance = &mut self.instances[number];
        let told = match blow {
            Blow::Kill => {
                instance.kill()?;
                self.tally.kills += 1;
                "killed"
            }
            Blow::Freeze => {
                instance.freeze()?;
                self.tally.freezes += 1;
                away = Duration::from_millis(SESSION_MS + 1_000) + self.millis(FROZEN_MS);
                "frozen"
            }
            _ => {
                instance.ask_to_end()?;
                let ended = instance.ended();
                ended.with_context(|| format!("stopping instance {number}"))?;
                "stopped"
            }
        };
        let after = match blow {
            Blow::Freeze => After::Thaw(number),
            _ => After::Start(number),
        };
        self.weather
            .say(&format!("instance {number} {told} for {away:.1?}"));
        self.due.push((self.weather.elapsed() + away, after));
        Ok(true)
    }

    fn strike_broker(&mut self) -> Result<bool> {
        if self
            .due
            .iter()
            .any(|(_, after)| matches!(after, After::Broker(_)))
        {
            return Ok(false);
        }
        let node = 1 + self.rng.index(self.weather.options.brokers);
        let away = self.millis(SERVER_AWAY_MS);
        self.weather.cluster.kill(node)?;
        self.tally.broker_losses += 1;
        self.weather
            .say(&format!("broker {node} killed for {away:.1?}"));
        self.due
            .push((self.weather.elapsed() + away, After::Broker(node)));
        Ok(true)
    }

    fn strike_database(&mut self) -> Result<bool> {
        if self.due.iter().any(|(_, after)| *after == After::Database) {
            return Ok(false);
        }
        let away = self.millis(SERVER_AWAY_MS);
        let hard = self.rng.chance(0.5);
        let postgres = self.weather.postgres.context("there is no database")?;
        if hard {
            postgres.kill()?
        } else {
            postgres.stop()?
        }
        let how = if hard { "killed" } else { "stopped" };
        self.weather
            .say(&format!("the database {how} for {away:.1?}"));
        self.due
            .push((self.weather.elapsed() + away, After::Database));
        Ok(true)
    }

    fn recover(&mut self, after: After) -> Result<()> {
        let told = match after {
            After::Start(number) => {
                let instance = &mut self.instances[number];
                ensure!(
                    instance.standing() == Standing::Down,
                    "instance {number} runs"
                );
                instance.start()?;
                format!("instance {number} started")
            }
            After::Thaw(number) => {
                self.instances[number].thaw()?;
                format!("instance {number} thawed")
            }
            After::Broker(node) => {
                self.weather.cluster.restart(node)?;
                format!("broker {node} is back")
            }
            After::Database => {
                let postgres = self.weather.postgres.context("there is no database")?;
                postgres.restart()?;
                "the database is back".to_owned()
            }
        };
        self.weather.say(&told);
        Ok(())
    }
}
