//! Starting and stopping the workers of one relay.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Instant;

use super::capture::{Capture, Captures, Snap};
use super::listeners::{self, Bound, Group, Sockets};
use super::socket;
use super::wait::Alarm;
use super::worker::{LOOK_UP_EVERY, Worker};
use crate::core::address::PathKey;
use crate::core::capture::Filter;
use crate::core::events::{Event, Events};
use crate::core::policy::Policy;
use crate::core::relay::{Limits, Relay, Turn};
use crate::core::table::{Hashing, locked};
use crate::core::time::Time;
use crate::stats::{Counters, DropReason};

/// What a relay needs to start.
#[derive(Clone)]
pub struct Config {
    /// Public and internal address of each listener.
    pub listeners: Vec<(SocketAddr, SocketAddr)>,
    /// Keys and networks.
    pub policy: Arc<Policy>,
    /// Threads.
    pub workers: usize,
    /// Sizes and rates.
    pub limits: Limits,
    /// Bytes each socket's buffers should have.
    pub socket_buffer: usize,
    /// The processors that the threads are kept on, in turn; none: wherever the kernel likes.
    pub processors: Vec<usize>,
    /// Whether the threads look for packets all the time and take a processor each.
    pub busy_poll: bool,
}

/// Why a relay did not start.
#[derive(Debug)]
pub struct StartError {
    /// The address that could not be bound, if that is why.
    pub address: Option<SocketAddr>,
    /// What the kernel said.
    pub error: io::Error,
}

/// What one worker counts and tells.
#[derive(Default)]
pub(super) struct Mine {
    pub(super) counters: Counters,
    pub(super) events: Events,
}

/// What the workers share.
pub(super) struct Shared {
    pub(super) relay: Relay,
    pub(super) captures: Captures,
    /// Readable when a worker has told something.
    told: OwnedFd,
    /// Whether `told` was written since events were last taken.
    is_told: AtomicBool,
    policy: RwLock<(u64, Arc<Policy>)>,
    /// The number of the policy, which each reload raises.
    policy_number: AtomicU64,
    pub(super) busy_poll: bool,
    started: Instant,
}

impl Shared {
    /// Microseconds since the start; never zero, so that the tables can use zero for "never".
    pub(super) fn now(&self) -> Time {
        Time(self.started.elapsed().as_micros() as u64 + 1)
    }

    /// Wakes the reader of events, once until it comes.
    pub(super) fn tell(&self, events: &Events) {
        if events.has_listener() && !events.is_empty() && !self.is_told.swap(true, Ordering::AcqRel) {
            socket::wake(&self.told);
        }
    }

    /// The policy of this moment and its number.
    pub(super) fn policy(&self) -> (u64, Arc<Policy>) {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of the policy of this moment, without a lock: asked for once a turn.
    pub(super) fn policy_number(&self) -> u64 {
        self.policy_number.load(Ordering::Acquire)
    }
}

/// A relay and its sockets, running or paused.
pub struct Runtime {
    shared: Arc<Shared>,
    /// The sockets of each worker; none once it is closed.
    groups: Mutex<Vec<Arc<Group>>>,
    workers: Vec<Arc<Mine>>,
    /// Counts of what the control plane does.
    control: Mine,
    control_is_busy: Mutex<()>,
    listeners: Vec<(SocketAddr, SocketAddr)>,
    threads: Mutex<Vec<(JoinHandle<()>, Arc<Alarm>)>>,
    alive: Arc<AtomicUsize>,
    processors: Vec<usize>,
    warnings: Vec<String>,
}

impl Runtime {
    /// Binds every socket, or takes over those of another process. Nothing runs before `resume`.
    pub fn new(config: &Config, inherited: Vec<Sockets>) -> Result<Runtime, StartError> {
        let of_kernel = |error| StartError { address: None, error };
        let Bound { groups, listeners, smallest_buffer, receives_together } = if inherited.is_empty() {
            listeners::bind(&config.listeners, config.workers, config.socket_buffer)?
        } else {
            listeners::adopt(inherited, config.listeners.len(), config.workers)?
        };
        let internals = listeners.iter().map(|(_, internal)| (*internal).into()).collect();
        let hashing = Hashing::new(socket::random_key().map_err(of_kernel)?);
        let shared = Shared {
            relay: Relay::new(internals, &config.limits, hashing),
            captures: Captures::new(listeners.clone()),
            told: socket::wake_up().map_err(of_kernel)?,
            is_told: AtomicBool::new(false),
            policy: RwLock::new((0, Arc::clone(&config.policy))),
            policy_number: AtomicU64::new(0),
            busy_poll: config.busy_poll,
            started: Instant::now(),
        };
        let mut warnings = Vec::new();
        if smallest_buffer < config.socket_buffer {
            warnings.push(small_buffers(smallest_buffer, config.socket_buffer));
        }
        if !receives_together {
            warnings.push(NO_GRO.to_string());
        }
        Ok(Runtime {
            shared: Arc::new(shared),
            workers: groups.iter().map(|_| Arc::default()).collect(),
            groups: Mutex::new(groups.into_iter().map(Arc::new).collect()),
            control: Mine::default(),
            control_is_busy: Mutex::new(()),
            listeners,
            threads: Mutex::new(Vec::new()),
            alive: Arc::new(AtomicUsize::new(0)),
            processors: config.processors.clone(),
            warnings,
        })
    }

    /// Starts the threads, unless they run.
    pub fn resume(&self) -> io::Result<()> {
        let mut threads = locked(&self.threads);
        if !threads.is_empty() {
            return Ok(());
        }
        for (number, (group, mine)) in locked(&self.groups).iter().zip(&self.workers).enumerate() {
            let (group, mine) = (Arc::clone(group), Arc::clone(mine));
            let (shared, alive) = (Arc::clone(&self.shared), Alive::new(&self.alive));
            let alarm = Arc::new(Alarm::new(LOOK_UP_EVERY)?);
            let its_alarm = Arc::clone(&alarm);
            let processor = self.processors.get(number % self.processors.len().max(1)).copied();
            let thread = std::thread::Builder::new().name(format!("relay-worker-{number}")).spawn(move || {
                let _alive = alive;
                if let Some(Err(error)) = processor.map(socket::pin) {
                    eprintln!("a packet thread stays on no processor: {error}");
                }
                Worker::new(&group, shared, mine, its_alarm).run();
            })?;
            threads.push((thread, alarm));
        }
        Ok(())
    }

    /// Ends the threads. The sockets stay, and what comes meanwhile waits in their buffers.
    pub fn pause(&self) {
        let threads = std::mem::take(&mut *locked(&self.threads));
        threads.iter().for_each(|(_, alarm)| alarm.end());
        for (thread, _) in threads {
            // A worker that panicked has said so on stderr.
            let _ = thread.join();
        }
    }

    /// Ends the threads and closes the sockets; counters and tables stay.
    pub fn close(&self) {
        self.pause();
        locked(&self.groups).clear();
    }

    /// Every pair of sockets with the number of its listener, for the process that takes over:
    /// (listener, public, internal).
    pub fn descriptors(&self) -> Vec<(usize, RawFd, RawFd)> {
        let of = |pair: &Sockets| (pair.listener, pair.public.as_raw_fd(), pair.internal.as_raw_fd());
        locked(&self.groups).iter().flat_map(|group| group.iter().map(of)).collect()
    }

    /// Counts what a predecessor counted.
    pub fn count_as_well(&self, counters: &HashMap<String, u64>, drops: &HashMap<String, u64>) {
        let _one_writer = locked(&self.control_is_busy);
        for (name, count) in counters {
            self.control.counters.add_to(name, *count);
        }
        for reason in DropReason::ALL {
            self.control.counters.add_drops(*reason, drops.get(reason.name()).copied().unwrap_or(0));
        }
    }

    /// Applies another policy from the next turn of every worker on.
    pub fn reload(&self, policy: Arc<Policy>) {
        let mut held = self.shared.policy.write().unwrap_or_else(PoisonError::into_inner);
        *held = (held.0 + 1, policy);
        self.shared.policy_number.store(held.0, Ordering::Release);
    }

    /// The decisions' tables.
    pub fn relay(&self) -> &Relay {
        &self.shared.relay
    }

    /// The time the tables use.
    pub fn now(&self) -> Time {
        self.shared.now()
    }

    /// The counters of each worker, and of the control plane.
    pub fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.everyone().map(|mine| &mine.counters)
    }

    /// The counters of each worker.
    pub fn workers(&self) -> impl Iterator<Item = &Counters> {
        self.workers.iter().map(|mine| &mine.counters)
    }

    /// Starts or stops keeping events; with a route cache, packets of unknown paths wait for it.
    pub fn listen(&self, listening: bool, route_cache: bool) {
        for mine in self.everyone() {
            mine.events.listen(listening);
        }
        self.shared.relay.set_route_cache(listening && route_cache);
    }

    /// Readable when there are events.
    pub fn told(&self) -> BorrowedFd<'_> {
        self.shared.told.as_fd()
    }

    /// Up to about `limit` events, oldest first within each worker, and how many were lost so far.
    pub fn take_events(&self, limit: usize) -> (Vec<Event>, u64) {
        socket::sleep(&self.shared.told);
        self.shared.is_told.store(false, Ordering::Release);
        let mut taken = Vec::new();
        for mine in self.everyone() {
            mine.events.take(limit.saturating_sub(taken.len()), &mut taken);
        }
        for mine in self.everyone() {
            self.shared.tell(&mine.events); // what is left wakes the reader again
        }
        (taken, self.everyone().map(|mine| mine.events.lost()).sum())
    }

    /// The workers, and the control plane.
    fn everyone(&self) -> impl Iterator<Item = &Mine> {
        self.workers.iter().map(|mine| &**mine).chain([&self.control])
    }

    /// Starts a capture; none if too many run.
    pub fn start_capture(&self, filter: Filter, snap: Snap) -> Option<Arc<Capture>> {
        self.shared.captures.start(filter, snap)
    }

    /// Ends a capture. What it holds can still be taken.
    pub fn stop_capture(&self, capture: &Arc<Capture>) {
        self.shared.captures.stop(capture);
    }

    /// Takes answers of the route cache: (path, next hop); returns how many made a claim.
    pub fn restore(&self, routes: &[(PathKey, SocketAddr)]) -> usize {
        let (_, policy) = self.shared.policy();
        let _one_writer = locked(&self.control_is_busy);
        let Mine { counters, events } = &self.control;
        let turn = Turn { now: self.now(), policy: &policy, counters, events };
        routes.iter().filter(|(key, next_hop)| self.shared.relay.restore(turn, *key, *next_hop)).count()
    }

    /// Ends paths; returns how many were there.
    pub fn kill(&self, keys: &[PathKey]) -> usize {
        let (_, policy) = self.shared.policy();
        let _one_writer = locked(&self.control_is_busy);
        let Mine { counters, events } = &self.control;
        let turn = Turn { now: self.now(), policy: &policy, counters, events };
        let killed = keys.iter().filter(|key| self.shared.relay.kill(turn, **key)).count();
        self.shared.tell(events);
        killed
    }

    /// The bound addresses.
    pub fn listeners(&self) -> &[(SocketAddr, SocketAddr)] {
        &self.listeners
    }

    /// Threads that run.
    pub fn alive(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    /// What the operator should know, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.pause();
    }
}

/// Counts a thread for as long as it lives, also if it panics.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Alive {
        count.fetch_add(1, Ordering::Relaxed);
        Alive(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

const NO_GRO: &str = "the kernel does not put returning packets together (UDP GRO needs Linux 5.0), which costs \
                      processor time under load";

fn small_buffers(given: usize, asked: usize) -> String {
    format!(
        "the kernel gave socket buffers of {given} bytes where {asked} were asked for, which costs packets under load; \
         set net.core.rmem_max and net.core.wmem_max to {asked}"
    )
}
