//! Starting and stopping the workers of one relay.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Instant;

use super::socket::{self, Member, Role};
use super::worker::{Listener, Worker};
use crate::core::address::PathKey;
use crate::core::events::{Event, Events};
use crate::core::policy::Policy;
use crate::core::relay::{Limits, Relay, Turn};
use crate::core::table::{Hashing, locked};
use crate::core::time::Time;
use crate::stats::Counters;

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
    /// Readable when a worker has told something.
    told: OwnedFd,
    /// Whether `told` was written since events were last taken.
    is_told: AtomicBool,
    policy: RwLock<Arc<Policy>>,
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

    /// The policy of this moment; asked once per turn, not per packet.
    pub(super) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A running relay.
pub struct Runtime {
    shared: Arc<Shared>,
    workers: Vec<Arc<Mine>>,
    /// Counts of what the control plane does.
    control: Mine,
    control_is_busy: Mutex<()>,
    listeners: Vec<(SocketAddr, SocketAddr)>,
    wake: Arc<OwnedFd>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    alive: Arc<AtomicUsize>,
    warnings: Vec<String>,
}

impl Runtime {
    /// Binds every socket, then starts every thread.
    pub fn start(config: &Config) -> Result<Runtime, StartError> {
        let mut smallest = usize::MAX;
        let mut bind = |address: SocketAddr, role, member| {
            let bound = socket::bind(address, role, member, config.socket_buffer)
                .map_err(|error| StartError { address: Some(address), error })?;
            smallest = smallest.min(bound.buffer);
            Ok(bound.socket)
        };
        let mut first = Vec::new();
        for (public, internal) in &config.listeners {
            let public = bind(*public, Role::Public, Member::First)?;
            first.push(Listener { public, internal: bind(*internal, Role::Internal, Member::First)? });
        }
        let listeners = addresses(&first, &config.listeners)?;
        let mut groups = vec![first];
        for _ in 1..config.workers {
            let mut group = Vec::new();
            for (public, internal) in &listeners {
                let public = bind(*public, Role::Public, Member::Other)?;
                group.push(Listener { public, internal: bind(*internal, Role::Internal, Member::Other)? });
            }
            groups.push(group);
        }
        let internals = listeners.iter().map(|(_, internal)| (*internal).into()).collect();
        let shared = Arc::new(Shared {
            relay: Relay::new(
                internals,
                &config.limits,
                Hashing::new(socket::random_key().map_err(|error| StartError { address: None, error })?),
            ),
            told: socket::wake_up().map_err(|error| StartError { address: None, error })?,
            is_told: AtomicBool::new(false),
            policy: RwLock::new(Arc::clone(&config.policy)),
            started: Instant::now(),
        });
        let wake = socket::wake_up().map_err(|error| StartError { address: None, error })?;
        let mut runtime = Runtime {
            shared,
            workers: Vec::new(),
            control: Mine::default(),
            control_is_busy: Mutex::new(()),
            listeners,
            wake: Arc::new(wake),
            threads: Mutex::new(Vec::new()),
            alive: Arc::new(AtomicUsize::new(0)),
            warnings: (smallest < config.socket_buffer)
                .then(|| small_buffers(smallest, config.socket_buffer))
                .into_iter()
                .collect(),
        };
        for group in groups {
            runtime.spawn(group).map_err(|error| StartError { address: None, error })?;
        }
        Ok(runtime)
    }

    fn spawn(&mut self, group: Vec<Listener>) -> io::Result<()> {
        let mine = Arc::new(Mine::default());
        let (shared, wake) = (Arc::clone(&self.shared), Arc::clone(&self.wake));
        let (alive, its) = (Alive::new(&self.alive), Arc::clone(&mine));
        let name = format!("relay-worker-{}", self.workers.len());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let _alive = alive;
            Worker::new(group, shared, its, wake).run();
        })?;
        self.lock_threads().push(thread);
        self.workers.push(mine);
        Ok(())
    }

    /// Ends the threads and closes the sockets.
    pub fn stop(&self) {
        socket::wake(&self.wake);
        let threads = std::mem::take(&mut *self.lock_threads());
        for thread in threads {
            // A worker that panicked has said so on stderr.
            let _ = thread.join();
        }
    }

    fn lock_threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        locked(&self.threads)
    }

    /// Applies another policy from the next turn of every worker on.
    pub fn reload(&self, policy: Arc<Policy>) {
        *self.shared.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
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
        self.workers.iter().map(|mine| &mine.counters).chain([&self.control.counters])
    }

    /// Starts or stops keeping events; with a route cache, packets of unknown paths wait for it.
    pub fn listen(&self, listening: bool, route_cache: bool) {
        for mine in &self.workers {
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
        for mine in &self.workers {
            mine.events.take(limit.saturating_sub(taken.len()), &mut taken);
        }
        for mine in &self.workers {
            self.shared.tell(&mine.events); // what is left wakes the reader again
        }
        (taken, self.workers.iter().map(|mine| mine.events.lost()).sum())
    }

    /// Takes answers of the route cache: (path, next hop); returns how many made a claim.
    pub fn restore(&self, routes: &[(PathKey, SocketAddr)]) -> usize {
        let policy = self.shared.policy();
        let _one_writer = locked(&self.control_is_busy);
        let Mine { counters, events } = &self.control;
        let turn = Turn { now: self.now(), policy: &policy, counters, events };
        routes.iter().filter(|(key, next_hop)| self.shared.relay.restore(turn, *key, *next_hop)).count()
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
        self.stop();
    }
}

/// The bound addresses, port 0 resolved. Two internal addresses with one port are refused: it is
/// the ingress id.
fn addresses(
    bound: &[Listener],
    asked: &[(SocketAddr, SocketAddr)],
) -> Result<Vec<(SocketAddr, SocketAddr)>, StartError> {
    let mut addresses: Vec<(SocketAddr, SocketAddr)> = Vec::new();
    for (listener, (public, internal)) in bound.iter().zip(asked) {
        let of = |socket: &UdpSocket, asked: &SocketAddr| match socket.local_addr() {
            Ok(address) => Ok(SocketAddr::new(asked.ip(), address.port())),
            Err(error) => Err(StartError { address: Some(*asked), error }),
        };
        let (public, internal) = (of(&listener.public, public)?, of(&listener.internal, internal)?);
        if addresses.iter().any(|(_, other)| other.port() == internal.port()) {
            let error = io::Error::from_raw_os_error(libc::EADDRINUSE);
            return Err(StartError { address: Some(internal), error });
        }
        addresses.push((public, internal));
    }
    Ok(addresses)
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

fn small_buffers(given: usize, asked: usize) -> String {
    format!(
        "the kernel gave socket buffers of {given} bytes where {asked} were asked for, which costs packets under load; \
         set net.core.rmem_max and net.core.wmem_max to {asked}"
    )
}
