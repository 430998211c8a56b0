//! Membership of the program's group, behind a trait, and its first implementation.
//!
//! [`ClassicGroup`] lets librdkafka do the group protocol, with the assignor `range`, and uses of
//! it what is hard: who is a member, generations, and rebalances in which nobody goes on before all
//! have let go. Which task goes where is not for the assignor, which knows partitions and not
//! tasks: when a generation has formed, every member asks the coordinator who is in it and places
//! the tasks itself (`placement`). Invariants: a task is given out only under the proof of a
//! generation, taken before the members were asked for, so that whoever acts on an older one cannot
//! commit; only where the topics still have the partitions that the tasks were made for; and only
//! to members that have the same tasks, since of others each would reckon for itself.

use crate::{
    broker::{Cluster, PROPAGATION},
    errors::{fatal, refused},
    ffi::{Context, GroupEvent, GroupMetadata, Handle, MemberDescription, PartitionList, Queue},
    placement::{self, Member},
    shape,
    wake::Waker,
};
use millstream_log::{Assignment, Error, Instance, Result, Subscription};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc::sync_channel},
    thread,
    time::Duration,
};
use xxhash_rust::xxh3::xxh3_64;

/// What the group tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// All tasks of this member, from now on.
    Assigned(Assignment),
    /// The member must give all its active tasks back, and say so with [`Membership::let_go`].
    Revoked,
    /// The member has no tasks any more.
    Lost,
}

/// A member of a group of programs.
pub(crate) trait Membership: Send {
    /// What has happened, without waiting for it. Must be called often, or the group takes the
    /// member for dead.
    fn poll(&mut self) -> Result<Option<Change>>;

    /// All that was revoked is committed or dropped.
    fn let_go(&mut self) -> Result<()>;

    /// The instances of the generation whose tasks were placed last.
    fn instances(&self) -> &[Instance];

    /// What a commit must carry; none between generations.
    fn proof(&self) -> Option<Arc<GroupMetadata>>;

    /// Commits places without a transaction.
    fn commit_places(&self, places: &PartitionList) -> Result<()>;
}

/// How long one request about the group takes at most.
const REQUEST: Duration = Duration::from_secs(5);
/// A leaving member waits for the group so many times so long.
const LEAVE_ROUNDS: usize = 50;
const LEAVE_WAIT: Duration = Duration::from_millis(100);
/// How long librdkafka may take over an answer to the group it is leaving.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// A member by librdkafka's classic group protocol.
pub(crate) struct ClassicGroup {
    cluster: Arc<Cluster>,
    subscription: Subscription,
    handle: Arc<Handle>,
    queue: Queue,
    /// The `client.id`, by which the members know each other's processes and versions.
    client: String,
    proof: Option<Arc<GroupMetadata>>,
    instances: Vec<Instance>,
    /// A generation has formed, and its tasks are not placed yet.
    placing: bool,
    /// Whether members had different tasks when last asked for.
    differing: bool,
    /// Whether another member had our name when last asked for.
    doubled: bool,
    /// Since when a topic was unknown to whomever was asked.
    unknown_since: Option<Duration>,
}

impl ClassicGroup {
    /// Joins. The first assignment comes through [`Membership::poll`].
    pub(crate) fn join(
        cluster: &Arc<Cluster>,
        subscription: Subscription,
        waker: &Arc<Waker>,
    ) -> Result<Self> {
        let client = client_id(&cluster.config.process_id, &subscription);
        let client = shape::say_all(&client, &subscription);
        let context = Context::new(Arc::clone(waker));
        // A static member that comes back is known by what it was called before, and makes no new
        // generation: with other tasks it must be another member.
        let member = shape::say(&subscription.member, &subscription);
        let group = &subscription.group;
        let handle = cluster.config.member(group, &member, &client, context)?;
        let topics: BTreeSet<&str> = (subscription.tasks.iter())
            .flat_map(|task| task.inputs.iter().map(|at| &*at.topic))
            .collect();
        let topics = topics.into_iter().collect::<Vec<_>>();
        let list = PartitionList::topics(topics.into_iter()).map_err(fatal)?;
        let queue = (handle.subscribe(&list)).map_err(|error| refused("subscribing", &error))?;
        Ok(Self {
            cluster: Arc::clone(cluster),
            subscription,
            handle,
            queue,
            client,
            proof: None,
            instances: Vec::new(),
            placing: false,
            differing: false,
            doubled: false,
            unknown_since: None,
        })
    }

    /// A topic that some broker does not know may be on its way to it: only one that stays unknown
    /// for long is not there, and is looked for then, since librdkafka says it once.
    fn unknown(&mut self, error: Error) -> Error {
        let Error::UnknownTopic(why) = error else {
            return error;
        };
        self.unknown_since.get_or_insert((self.cluster.elapsed)());
        if self.propagated() {
            return Error::UnknownTopic(why);
        }
        Error::Retry(format!("{why} is not known yet"))
    }

    /// Whether something has been unknown for so long that every broker must have heard of it.
    fn propagated(&self) -> bool {
        let elapsed = &self.cluster.elapsed;
        (self.unknown_since).is_some_and(|since| elapsed().saturating_sub(since) >= PROPAGATION)
    }

    /// Places the tasks of the generation, if all its members are known.
    fn assignment(&mut self) -> Result<Option<Assignment>> {
        let group = &self.subscription.group;
        let described = self.cluster.admin.describe_group(group, REQUEST);
        let described = described.map_err(|error| refused("asking for the group", &error))?;
        let our_id = self.proof.as_ref().map(|proof| proof.member_id());
        let is_us = |member: &MemberDescription| Some(&member.id) == our_id.as_ref();
        let Some(us) = described.members.iter().find(|member| is_us(member)) else {
            // The group has moved on already: a revocation is on its way.
            return Ok(None);
        };
        if !described.stable {
            return Ok(None);
        }
        self.verify_partitions()?;
        self.notice_doubles(&described.members);
        let members = self.alike(&described.members).into_iter().map(member);
        let members: Vec<_> = members.collect();
        let (tasks, standbys) = (&self.subscription.tasks, self.subscription.standbys);
        let mut placed = placement::place(&members, tasks, standbys);
        // Among those of another version nothing is placed by what is known here.
        let placed_here = members.iter().any(|member| member.id == us.id);
        let known = if placed_here {
            &placed
        } else {
            &BTreeMap::new()
        };
        self.instances = instances(&described.members, &us.id, known);
        self.placing = false;
        Ok(Some(placed.remove(&us.id).unwrap_or_default()))
    }

    /// The members among which this generation's tasks are placed, while a new version of the
    /// program takes over from another one instance by instance: those of the version that most
    /// have. So all goes on meanwhile, and all tasks change hands at once.
    fn alike<'a>(&mut self, members: &'a [MemberDescription]) -> Vec<&'a MemberDescription> {
        let clients = || members.iter().map(|member| &*member.client);
        let (most, differ) = shape::of_most(clients());
        let fits = |client: &str| shape::of(client).is_none_or(|shape| Some(shape) == most);
        if differ && !self.differing {
            tracing::warn!(
                group = self.subscription.group,
                member = self.client,
                clients = ?clients().collect::<Vec<_>>(),
                ours = fits(&self.client),
                "members have other tasks than others, as while another version of the program \
                 takes over: one version at a time is given tasks"
            );
        }
        self.differing = differ;
        (members.iter().filter(|member| fits(&member.client))).collect()
    }

    /// Says that another process goes by our name. Each has tasks of its own; but with transactions
    /// a name has one owner, so each ends those of the other, and nothing goes on.
    fn notice_doubles(&mut self, members: &[MemberDescription]) {
        let us = shape::split(&self.client);
        let namesakes = members
            .iter()
            .filter(|member| shape::split(&member.client) == us);
        let doubled = namesakes.count() > 1;
        if doubled && !self.doubled {
            tracing::warn!(
                group = self.subscription.group,
                member = self.client,
                "another process lives under the name of this one, as where a state directory was \
                 copied: each must have one of its own"
            );
        }
        self.doubled = doubled;
    }

    /// Tasks were made for so many partitions of each topic. With more or fewer, some records would
    /// have no task, or joined ones different tasks.
    fn verify_partitions(&self) -> Result<()> {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for at in self.subscription.tasks.iter().flat_map(|task| &task.inputs) {
            let count = counts.entry(&at.topic).or_default();
            *count = (*count).max(at.partition + 1);
        }
        for (topic, expected) in counts {
            let found = self.cluster.admin.describe_topic(topic, REQUEST);
            let found = found.map_err(|error| refused("asking for a topic", &error))?;
            let Some(found) = found else {
                return Err(Error::UnknownTopic(topic.to_owned()));
            };
            if found.partitions != expected {
                return Err(Error::Fatal(format!(
                    "topic {topic} has {} partitions now, and this program was started with \
                     {expected}: all its instances must be restarted together, and joined topics \
                     must have equal numbers of partitions",
                    found.partitions
                )));
            }
        }
        Ok(())
    }

    /// Answers while the member leaves; whether librdkafka came back from that. An answer that
    /// comes when the member has just left may never do: then its thread stays behind with the
    /// handle, which is better than to stay with it.
    fn answer_leaving(&self) -> bool {
        let (handle, (done, answered)) = (Arc::clone(&self.handle), sync_channel(1));
        let answer = move || done.send(handle.let_go());
        let named = thread::Builder::new().name("leave".to_owned());
        match named
            .spawn(answer)
            .map(|_| answered.recv_timeout(ANSWER_WAIT))
        {
            Ok(Ok(Ok(()))) => true,
            why => {
                tracing::warn!(?why, "the member left its group without an answer");
                false
            }
        }
    }

    fn leave(&mut self) {
        // What cannot be said is found out by the group when the session ends.
        let left = self.handle.leave_queue().and_then(|queue| {
            self.handle.begin_to_leave(&queue)?;
            for _ in 0..LEAVE_ROUNDS {
                if self.handle.has_left() {
                    break;
                }
                // A member that was silent for too long hears of that, and then of its loss: two
                // events for one answer.
                if self.handle.is_asked(&queue, LEAVE_WAIT) && !self.answer_leaving() {
                    break;
                }
            }
            Ok(())
        });
        if let Err(error) = left {
            tracing::debug!(%error, "leaving the group");
        }
    }
}

impl Membership for ClassicGroup {
    fn poll(&mut self) -> Result<Option<Change>> {
        if let Some(event) = self.handle.group_event(&self.queue, Duration::ZERO) {
            match event {
                GroupEvent::Assigned => {
                    let proof = self.handle.group_metadata().map_err(fatal)?;
                    self.handle.accept_assignment().map_err(fatal)?;
                    self.proof = Some(Arc::new(proof));
                    self.placing = true;
                }
                GroupEvent::Revoked => {
                    self.placing = false;
                    self.instances.clear();
                    return Ok(Some(Change::Revoked));
                }
                GroupEvent::Lost => {
                    (self.proof, self.placing) = (None, false);
                    self.instances.clear();
                    self.handle.let_go().map_err(fatal)?;
                    return Ok(Some(Change::Lost));
                }
                GroupEvent::Failed(error) => {
                    // A handle that is finished says why only if it is asked.
                    let why = self.handle.fatal().unwrap_or(error);
                    return Err(self.unknown(refused("in the group", &why)));
                }
            }
        }
        if let Some(error) = self.handle.fatal() {
            return Err(refused("in the group", &error));
        }
        if self.propagated() {
            self.verify_partitions()?;
            self.unknown_since = None;
        }
        if self.placing {
            let assignment = self.assignment().map_err(|error| self.unknown(error))?;
            if assignment.is_some() {
                self.unknown_since = None;
            }
            return Ok(assignment.map(Change::Assigned));
        }
        Ok(None)
    }

    fn let_go(&mut self) -> Result<()> {
        self.proof = None;
        self.handle.let_go().map_err(fatal)
    }

    fn instances(&self) -> &[Instance] {
        &self.instances
    }

    fn proof(&self) -> Option<Arc<GroupMetadata>> {
        self.proof.clone()
    }

    fn commit_places(&self, places: &PartitionList) -> Result<()> {
        let done = self.handle.commit_places(places);
        done.map_err(|error| refused("committing places", &error))
    }
}

impl Drop for ClassicGroup {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A member's transactional id, and its `client.id` but for the shape of its tasks: its name, and
/// behind the last hyphen a digest of the process it belongs to.
pub(crate) fn client_id(process: &str, subscription: &Subscription) -> String {
    let Subscription {
        group,
        member,
        instance,
        ..
    } = subscription;
    let digest = xxh3_64(format!("{process}\0{instance}").as_bytes()) >> 32;
    if member.starts_with(group.as_str()) {
        format!("{member}-{digest:08x}")
    } else {
        format!("{group}-{member}-{digest:08x}")
    }
}

/// What the instances of all members have. Of a member that was given no tasks, as of another
/// version, it is known where it can be asked. A process that came back elsewhere is another
/// instance than the members that it left behind, until their sessions end.
fn instances(
    members: &[MemberDescription],
    us: &str,
    placed: &BTreeMap<String, Assignment>,
) -> Vec<Instance> {
    let mut instances: BTreeMap<(String, Option<&str>), Instance> = BTreeMap::new();
    for described in members {
        let server = shape::server(&described.client);
        let instance = instances.entry((member(described).instance, server));
        let instance = instance.or_insert_with(|| Instance {
            server: server.map(str::to_owned),
            ..Instance::default()
        });
        instance.ours |= described.id == us;
        if let Some(has) = placed.get(&described.id) {
            instance.add(has.active.iter().copied(), has.standby.iter().copied());
        }
    }
    instances.into_values().collect()
}

fn member(described: &MemberDescription) -> Member {
    let MemberDescription { id, client } = described;
    let (name, _) = shape::split(client);
    let instance = name.rsplit_once('-').map_or(name, |(_, digest)| digest);
    Member {
        instance: instance.to_owned(),
        name: client.clone(),
        id: id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::record::TaskId;

    fn subscription(member: &str, instance: &str) -> Subscription {
        Subscription {
            group: "app".into(),
            member: member.into(),
            instance: instance.into(),
            server: None,
            tasks: Vec::new(),
            patterns: false,
            standbys: 0,
        }
    }

    #[test]
    fn threads_of_a_process_share_an_instance_and_have_their_own_names() {
        let ids = [
            ("app-thread-1", "p"),
            ("app-thread-2", "p"),
            ("app-thread-1", "q"),
        ]
        .map(|(name, process)| {
            member(&MemberDescription {
                id: String::new(),
                client: client_id(process, &subscription(name, "dir")),
            })
        });
        assert_eq!(ids[0].instance, ids[1].instance);
        assert_ne!(ids[0].instance, ids[2].instance);
        assert_ne!(ids[0].name, ids[1].name);
        assert!(ids.iter().all(|id| id.name.starts_with("app-thread-")));
    }

    #[test]
    fn instances_are_processes_at_places_with_what_their_members_have() {
        let described = |id: &str, name: &str, process: &str, server: Option<&str>| {
            let mut said = subscription(name, "dir");
            said.server = server.map(str::to_owned);
            MemberDescription {
                id: id.into(),
                client: shape::say_all(&client_id(process, &said), &said),
            }
        };
        let task = |partition| TaskId {
            subtopology: 0,
            partition,
        };
        let has = |active: &[u32], standby: &[u32]| Assignment {
            active: active.iter().copied().map(task).collect(),
            standby: standby.iter().copied().map(task).collect(),
        };
        // Two threads of one process, what it left behind at another place, and one that says
        // nothing.
        let mut members = vec![
            described("a1", "app-1", "p", Some("here:1")),
            described("a2", "app-2", "p", Some("here:1")),
            described("ghost", "app-1", "p", Some("gone:1")),
            described("b", "app-1", "q", None),
        ];
        let placed = BTreeMap::from([
            ("a1".to_owned(), has(&[3], &[])),
            ("a2".to_owned(), has(&[1], &[0])),
            ("ghost".to_owned(), has(&[2], &[])),
            ("b".to_owned(), has(&[0], &[1])),
        ]);
        let expected = |server: Option<&str>, ours, has: Assignment| Instance {
            server: server.map(str::to_owned),
            ours,
            active: has.active,
            standby: has.standby,
        };
        for _ in 0..members.len() {
            members.rotate_left(1);
            let mut found = instances(&members, "a2", &placed);
            found.sort_by(|one, other| one.server.cmp(&other.server));
            let all = [
                expected(None, false, has(&[0], &[1])),
                expected(Some("gone:1"), false, has(&[2], &[])),
                expected(Some("here:1"), true, has(&[1, 3], &[0])),
            ];
            assert_eq!(found, all);
        }
        let unknown = instances(&members, "a2", &BTreeMap::new());
        assert!(unknown.len() == 3 && unknown.iter().all(|one| one.active.is_empty()));
    }
}
