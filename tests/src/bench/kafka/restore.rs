//! State back from the changelog: each side builds its own, loses its disk, and gets it back.
//!
//! Each changelog is written by the side that reads it, since formats differ; what is in it is the
//! same: one record of 100 bytes for each key. The time is from start to running, forming the group
//! included. The JVM's own start is not in it, and it is not warm: a program that restores never
//! is.

use super::{
    super::{
        Figures, Scene,
        workloads::{Names, Workload},
    },
    flow::Cluster,
    job::{Job, Size, Stage},
    load::{Load, Shape, VALUE_BYTES},
    peers::Side,
};
use anyhow::{Context, Result, bail};
use std::{collections::BTreeMap, fs};

/// Builds the states once, and loses and restores them in every run.
pub(super) fn runs(scene: &Scene) -> Result<Vec<Figures>> {
    let (size, cluster) = (Size::from_environment(Workload::Restore)?, Cluster::open()?);
    let load = Load::new(&cluster.servers)?;
    let keys = size.restore_keys;
    let name = format!("{}-{}", scene.bench(), std::process::id());
    let input = format!("{name}-in");
    load.fill(&input, (keys, keys), Shape::Each, (1, VALUE_BYTES))?;
    let sides = [Side::Ours, Side::KafkaStreams { cached: false }];
    let job = |side: Side| {
        let id = format!("{name}-{}", side.name());
        Job {
            workload: Workload::Restore,
            servers: cluster.servers.clone(),
            topics: Names {
                input: input.clone(),
                ..Names::default()
            },
            state: scene.directory().join(&id),
            application_id: id,
            records: keys,
            warmup: 0,
            restored: 0,
            stage: Stage::OnCluster,
            traffic: Vec::new(),
        }
    };
    for side in sides {
        side.run(scene.bench(), &job(side))
            .context("building the state")?;
    }
    let run = |_| -> Result<Figures> {
        let mut told = BTreeMap::new();
        for side in sides {
            let job = Job {
                restored: keys,
                ..job(side)
            };
            if !job.state.exists() {
                bail!("{} kept no state", side.name());
            }
            fs::remove_dir_all(&job.state)?;
            told.insert(side, side.run(scene.bench(), &job)?);
        }
        relate(&told)
    };
    let figures: Result<Vec<_>> = (0..size.runs).map(run).collect();
    let cleaned = load.delete(&name);
    figures.and_then(|figures| cleaned.map(|()| figures))
}

fn relate(told: &BTreeMap<Side, Figures>) -> Result<Figures> {
    let theirs = Side::KafkaStreams { cached: false };
    let mut figures = super::flow::figures(told, theirs)?;
    let seconds = |side: Side| told[&side]["seconds"];
    figures.insert("restore_seconds".to_owned(), seconds(Side::Ours));
    figures.insert("kafka_streams_restore_seconds".to_owned(), seconds(theirs));
    let ratio = seconds(Side::Ours) / seconds(theirs);
    figures.insert("restore_seconds_ratio_to_kafka_streams".to_owned(), ratio);
    Ok(figures)
}
