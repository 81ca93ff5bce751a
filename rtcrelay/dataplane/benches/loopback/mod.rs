//! Relays with real sockets on loopback, and what their packets cost.
//!
//! The figure is the CPU time of the forwarding threads per packet and way, kernel included; wall
//! time says little on a small machine. Loopback is not a network card: it does the receiver's
//! work in the sender's thread.
#![allow(dead_code, reason = "each bench uses a part")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use _dataplane::core::address::Networks;
use _dataplane::core::policy::Policy;
use _dataplane::core::relay::Limits;
use _dataplane::core::spp;
use _dataplane::io::{Config, Runtime};

const PAYLOAD: usize = 160;
/// Repetitions of each pair.
pub const ROUNDS: usize = 7;

/// The middle one.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The CPU nanoseconds of one relay worker per packet and way.
pub fn with_relay(flows: usize, burst: usize, watch_legs: bool) -> f64 {
    let echo = Echo::start();
    let runtime = relay(Policy { cluster: Some(0), transceivers: loopback(), ..Policy::default() }, watch_legs);
    let (public, internal) = runtime.listeners()[0];
    let clients = clients(flows, public);
    found(&echo, &clients, internal, internal);
    while runtime.relay().flow_count() < flows {
        std::thread::sleep(Duration::from_millis(1));
    }
    measure(WORKER, &clients, burst)
}

/// The name of a relay's only thread.
pub const WORKER: &str = "relay-worker-0";

/// A running relay with one worker.
pub fn relay(policy: Policy, watch_legs: bool) -> Runtime {
    let free = "127.0.0.1:0".parse().expect("an address");
    let config = Config {
        listeners: vec![(free, free)],
        policy: Arc::new(policy),
        workers: 1,
        limits: Limits {
            max_flows: 262_144,
            idle: Duration::from_secs(60),
            claim_rate: 200,
            claim_burst: 1000,
            watch_legs,
        },
        socket_buffer: 8 << 20,
        processors: Vec::new(),
        busy_poll: false,
    };
    let runtime = Runtime::new(&config, Vec::new()).expect("free ports");
    runtime.resume().expect("threads");
    runtime
}

/// Everything on this machine.
pub fn loopback() -> Networks {
    Networks::parse(&["127.0.0.0/8"]).expect("a network")
}

/// Founds each client's claim by an announce: the return address is `proxy`, and `to` hears it.
pub fn found(echo: &Echo, clients: &[UdpSocket], proxy: SocketAddr, to: SocketAddr) {
    for client in clients {
        let client = client.local_addr().expect("bound");
        echo.socket.send_to(&spp::pack(&spp::Header { client, proxy }), to).expect("sent");
    }
}

/// Sockets of so many clients.
pub fn clients(count: usize, to: SocketAddr) -> Vec<UdpSocket> {
    let client = |_| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.connect(to).expect("an address");
        socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a time-out");
        socket
    };
    (0..count).map(client).collect()
}

/// Sends bursts over the clients and waits for each echo; returns the CPU nanoseconds that the
/// threads of that name spent per packet and way. Panics if a packet is lost or comes to another client.
pub fn measure(thread: &str, clients: &[UdpSocket], burst: usize) -> f64 {
    let mut payload = [0u8; PAYLOAD];
    payload[..2].copy_from_slice(&[0x80, 111]); // RTP
    let (mut forwarded, mut at, mut before) = (0u64, 0usize, 0);
    let started = Instant::now();
    let mut warm = false;
    while started.elapsed() < Duration::from_millis(700) {
        if !warm && started.elapsed() > Duration::from_millis(150) {
            (warm, forwarded, before) = (true, 0, cpu_time(thread));
        }
        let first = at;
        for n in first..first + burst {
            let sequence = n / clients.len();
            payload[2..4].copy_from_slice(&(sequence as u16).to_be_bytes());
            payload[4..8].copy_from_slice(&(sequence as u32).wrapping_mul(960).to_be_bytes());
            payload[12..20].copy_from_slice(&(n as u64).to_be_bytes());
            clients[n % clients.len()].send(&payload).expect("sent");
        }
        for n in first..first + burst {
            let mut echoed = [0u8; 2048];
            let length = clients[n % clients.len()].recv(&mut echoed).expect("no packet is lost");
            assert_eq!(length, PAYLOAD);
            assert_eq!(echoed[12..20], (n as u64).to_be_bytes(), "no packet comes to another client");
        }
        at += burst;
        forwarded += 2 * burst as u64;
    }
    (cpu_time(thread) - before) as f64 / forwarded as f64
}

/// Nanoseconds on a CPU of this process's threads of that name.
fn cpu_time(name: &str) -> u64 {
    let mut sum = None;
    for task in std::fs::read_dir("/proc/self/task").expect("proc").flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").trim() == &name[..name.len().min(15)] {
            let time: u64 = read("schedstat").split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
            *sum.get_or_insert(0) += time;
        }
    }
    sum.unwrap_or_else(|| panic!("no thread is called {name}"))
}

/// A transceiver that sends every datagram back, one per call.
pub struct Echo {
    pub socket: UdpSocket,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Echo {
    pub fn start() -> Echo {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
        let stop = Arc::new(AtomicBool::new(false));
        let (own, stopped) = (socket.try_clone().expect("a descriptor"), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut datagram = [0u8; 2048];
            while !stopped.load(Relaxed) {
                if let Ok((length, source)) = own.recv_from(&mut datagram) {
                    own.send_to(&datagram[..length], source).expect("sent");
                }
            }
        });
        Echo { socket, stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}
