//! A gdb stub with a small machine behind it, for tests: it does what QEMU's does as far as the debugger can tell, and
//! what happens in the guest is up to the test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::guest::Registers;
use super::packet::{frame, hex, unhex};
use crate::{Layout, TaskLayout};

pub(super) const MSLEEP: u64 = 0xffff_ffff_8100_0000;
const OFFSETS: u64 = 0xffff_ffff_8200_0000;
const CURRENT: u64 = 0x1_ac00;
const COUNT: u64 = 0x1_abc0;

pub(super) fn layout() -> Layout {
    Layout {
        per_cpu_offset: OFFSETS,
        current_task: CURRENT,
        preempt_count: COUNT,
        init_task: task(0),
        msleep: MSLEEP,
        landing: None,
        task: TaskLayout {
            pid: 8,
            comm: 16,
            state: (32, 4),
            on_cpu: Some(40),
            sp: 48,
            stack: 56,
            tasks: 64,
            thread_node: 80,
            signal: 96,
            thread_head: 16,
            rcu_nesting: Some(104),
        },
        stack_size: 0x4000,
    }
}

pub(super) fn task(tid: i32) -> u64 {
    0xffff_8880_0000_0000 + u64::try_from(tid).expect("not negative") * 0x1000
}

/// Lowest address of a task's stack.
pub(super) fn stack(tid: i32) -> u64 {
    0xffff_c900_0000_0000 + u64::try_from(tid).expect("not negative") * 0x10_0000
}

fn per_cpu(cpu: usize) -> u64 {
    0xffff_8881_0000_0000 + cpu as u64 * 0x1000_0000
}

/// How the stub behaves.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manners {
    /// It offers to do without acknowledgements.
    pub no_acks: bool,
    /// It sets breakpoints in hardware alone, this many.
    pub hardware: Option<usize>,
    /// Steps it takes to get past any instruction; 0 is 1.
    pub steps: u32,
}

/// The machine.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// `g` packets.
    pub cpus: Vec<Vec<u8>>,
    memory: BTreeMap<u64, u8>,
    pub breakpoints: BTreeSet<u64>,
    /// Every request but memory reads and selections, in order.
    pub log: Vec<String>,
    selected: usize,
    steps: u32,
    pub detached: bool,
}

impl Machine {
    pub fn registers(&self, cpu: usize) -> Registers {
        Registers::parse(&self.cpus[cpu]).expect("long enough")
    }

    fn set(&mut self, cpu: usize, registers: &Registers) {
        let bytes = registers.thread_bytes();
        self.cpus[cpu][..bytes.len()].copy_from_slice(&bytes);
    }

    pub fn poke(&mut self, address: u64, bytes: &[u8]) {
        self.memory.extend((address..).zip(bytes.iter().copied()));
    }

    pub fn peek(&self, address: u64) -> u64 {
        let bytes: Vec<u8> = (address..address + 8).map(|at| self.memory[&at]).collect();
        u64::from_le_bytes(bytes.try_into().expect("eight"))
    }

    pub fn preempt_count(&mut self, cpu: usize, count: u32) {
        self.poke(per_cpu(cpu) + COUNT, &count.to_le_bytes());
    }

    /// Puts a thread on a CPU.
    pub fn schedule(&mut self, cpu: usize, tid: i32) {
        self.poke(per_cpu(cpu) + CURRENT, &task(tid).to_le_bytes());
    }

    /// The thread on `cpu` is about to execute `address`, every register of its own.
    pub fn arrive(&mut self, cpu: usize, tid: i32, address: u64) {
        self.schedule(cpu, tid);
        let general = std::array::from_fn(|at| address.rotate_left(8) ^ (at as u64) << 32 ^ task(tid));
        let mut registers = Registers { general, rip: address, eflags: 0x246, ..self.registers(cpu) };
        registers.general[7] = stack(tid) + 0x3e08;
        self.set(cpu, &registers);
    }

    /// `msleep`, entered on `from`, returns on `to`, its caller's scratch registers spoilt.
    pub fn return_from_sleep(&mut self, from: usize, to: usize, tid: i32) {
        let asleep = self.registers(from);
        assert_eq!(asleep.rip, MSLEEP, "the thread was sent to sleep");
        assert_eq!(asleep.sp() % 16, 8, "as at any function's entry");
        let mut registers = Registers { general: [0xdead; 16], ..asleep };
        registers.rip = self.peek(asleep.sp());
        registers.general[7] = asleep.sp() + 8;
        self.schedule(from, 0);
        self.set(from, &Registers { rip: 0, general: [0; 16], ..asleep });
        self.schedule(to, tid);
        self.set(to, &registers);
    }

    fn answer(&mut self, request: &str, manners: Manners) -> String {
        let hexadecimal = |text: &str| u64::from_str_radix(text, 16).expect("hexadecimal");
        if let Some(rest) = request.strip_prefix('m') {
            let (address, length) = rest.split_once(',').expect("a length");
            let (address, length) = (hexadecimal(address), hexadecimal(length));
            let bytes: Option<Vec<u8>> = (address..address + length).map(|at| self.memory.get(&at).copied()).collect();
            return if length > 2048 { "E22".into() } else { bytes.map_or("E14".into(), |bytes| hex(&bytes)) };
        }
        if let Some(thread) = request.strip_prefix("Hg") {
            self.selected = usize::try_from(hexadecimal(thread)).expect("small") - 1;
            return "OK".into();
        }
        self.log.push(request.to_owned());
        match request.split_at(1) {
            ("q", "Supported:swbreak+;hwbreak+") if manners.no_acks => "PacketSize=1000;QStartNoAckMode+".into(),
            ("q", "Supported:swbreak+;hwbreak+") => "PacketSize=1000;qXfer:features:read+".into(),
            ("Q", "StartNoAckMode") if manners.no_acks => "OK".into(),
            ("v", "Cont?") => "vCont;c;C;s;S".into(),
            // One thread an answer, as QEMU does.
            ("q", "fThreadInfo") => "m01".into(),
            ("q", "sThreadInfo") => {
                let asked = self.log.iter().filter(|request| *request == "qsThreadInfo").count();
                if asked < self.cpus.len() { format!("m{:02x}", asked + 1) } else { "l".into() }
            }
            ("g", "") => hex(&self.cpus[self.selected]),
            ("G", bytes) => {
                let bytes = unhex(bytes.as_bytes()).expect("hexadecimal");
                self.cpus[self.selected][..bytes.len()].copy_from_slice(&bytes);
                "OK".into()
            }
            ("M", rest) => {
                let (place, bytes) = rest.split_once(':').expect("bytes");
                let address = hexadecimal(place.split_once(',').expect("a length").0);
                self.poke(address, &unhex(bytes.as_bytes()).expect("hexadecimal"));
                "OK".into()
            }
            (set @ ("Z" | "z"), rest) => {
                let fields: Vec<&str> = rest.split(',').collect();
                let (hardware, address) = (fields[0] == "1", hexadecimal(fields[1]));
                match manners.hardware {
                    None if hardware => return String::new(),
                    Some(_) if !hardware => return String::new(),
                    Some(most) if set == "Z" && self.breakpoints.len() >= most => return "E22".into(),
                    _ => {}
                }
                let known =
                    if set == "Z" { !self.breakpoints.insert(address) } else { !self.breakpoints.remove(&address) };
                assert!(!known, "{request} for nothing");
                "OK".into()
            }
            ("D", "") => {
                self.detached = true;
                "OK".into()
            }
            _ => String::new(),
        }
    }

    /// One instruction on one CPU.
    fn step(&mut self, cpu: usize, manners: Manners) {
        let mut registers = self.registers(cpu);
        assert!(!self.breakpoints.contains(&registers.rip), "a step onto a breakpoint would hit it");
        self.steps += 1;
        if self.steps >= manners.steps {
            self.steps = 0;
            registers.rip += 1;
        }
        self.set(cpu, &registers);
    }
}

/// What the test lets happen while the machine runs.
type Happening = Box<dyn FnOnce(&mut Machine) -> usize + Send>;

/// The test's end of it.
pub(super) struct Fake {
    machine: Arc<Mutex<Machine>>,
    happenings: Option<mpsc::UnboundedSender<Happening>>,
    server: tokio::task::JoinHandle<()>,
}

impl Fake {
    /// A stub for a machine of that many CPUs, and the debugger's end of its socket.
    pub fn new(cpus: usize, manners: Manners) -> (Self, UnixStream) {
        let mut machine = Machine::default();
        for cpu in 0..cpus {
            machine.cpus.push(vec![0x11 * (u8::try_from(cpu).expect("few") + 1); 608]);
            // Kernel code segment, level 0.
            machine.cpus[cpu][140..144].copy_from_slice(&[0x10, 0, 0, 0]);
            machine.poke(OFFSETS + cpu as u64 * 8, &per_cpu(cpu).to_le_bytes());
            machine.preempt_count(cpu, 1 << 31);
        }
        // Tasks 0 to 5, each its own process with one thread; `signal` lies behind the task.
        for tid in 0..6 {
            let (at, signal) = (task(tid), task(tid) + 0x800);
            machine.poke(at, &[0; 128]);
            machine.poke(at + 8, &tid.to_le_bytes());
            machine.poke(at + 16, format!("task {tid}").as_bytes());
            machine.poke(at + 48, &(stack(tid) + 0x3d00).to_le_bytes());
            machine.poke(at + 56, &stack(tid).to_le_bytes());
            machine.poke(at + 64, &(task((tid + 1) % 6) + 64).to_le_bytes());
            machine.poke(at + 80, &(signal + 16).to_le_bytes());
            machine.poke(at + 96, &signal.to_le_bytes());
            machine.poke(signal + 16, &(at + 80).to_le_bytes());
            for word in 0..0x800 {
                machine.poke(stack(tid) + word * 8, &(word | 0xabcd_0000).to_le_bytes());
            }
        }
        (0..cpus).for_each(|cpu| machine.schedule(cpu, 0));
        let machine = Arc::new(Mutex::new(machine));
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let (happenings, incoming) = mpsc::unbounded_channel();
        let stub = Stub { stream: ours, machine: machine.clone(), incoming, manners, seen: Vec::new(), acks: true };
        (Self { machine, happenings: Some(happenings), server: tokio::spawn(stub.serve()) }, theirs)
    }

    /// The next thing that happens once the machine runs; what it returns is the CPU that hits a breakpoint.
    pub fn then(&self, happening: impl FnOnce(&mut Machine) -> usize + Send + 'static) {
        let _ = self.happenings.as_ref().expect("not vanished").send(Box::new(happening));
    }

    pub fn arrives(&self, cpu: usize, tid: i32, address: u64) {
        self.then(move |machine| {
            machine.arrive(cpu, tid, address);
            cpu
        });
    }

    pub fn wakes(&self, from: usize, to: usize, tid: i32) {
        self.then(move |machine| {
            machine.return_from_sleep(from, to, tid);
            to
        });
    }

    /// QEMU ends.
    pub fn vanish(&mut self) {
        self.happenings = None;
    }

    pub fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().expect("nobody panicked")
    }

    /// Waits for the stub's end and says what panicked in it.
    pub async fn end(mut self) {
        self.vanish();
        self.server.await.expect("the stub has nothing to complain about");
    }
}

struct Stub {
    stream: UnixStream,
    machine: Arc<Mutex<Machine>>,
    incoming: mpsc::UnboundedReceiver<Happening>,
    manners: Manners,
    seen: Vec<u8>,
    acks: bool,
}

impl Stub {
    async fn serve(mut self) {
        // A connection stops the machine.
        self.say("T02thread:01;").await;
        while let Some(request) = self.request().await {
            if self.acks {
                let _ = self.stream.write_all(b"+").await;
            }
            let detaches = request == "D";
            let resumes = request.starts_with("vCont;");
            if resumes {
                self.machine.lock().expect("fine").log.push(request.clone());
                let Some(stopped) = self.run(&request).await else { return };
                self.say(&stopped).await;
            } else {
                let reply = self.machine.lock().expect("fine").answer(&request, self.manners);
                self.say(&reply).await;
                self.acks &= request != "QStartNoAckMode" || reply != "OK";
            }
            if detaches {
                return;
            }
        }
    }

    /// Runs until something happens or a byte comes; none when QEMU is to end.
    async fn run(&mut self, request: &str) -> Option<String> {
        if let Some(thread) = request.strip_prefix("vCont;s:") {
            let cpu = usize::from_str_radix(thread, 16).expect("a thread") - 1;
            self.machine.lock().expect("fine").step(cpu, self.manners);
            return Some(format!("T05thread:{thread:0>2};"));
        }
        // The byte that stops the machine may have come together with what let it run.
        if let Some(byte) = self.seen.pop() {
            assert_eq!((byte, self.seen.len()), (3, 0), "anything else stops the machine too");
            return Some("T02thread:01;".to_owned());
        }
        let mut byte = [0];
        tokio::select! {
            biased;
            happening = self.incoming.recv() => {
                let cpu = happening?(&mut self.machine.lock().expect("fine"));
                Some(format!("T05thread:{:02x};", cpu + 1))
            }
            read = self.stream.read(&mut byte) => (read.ok()? == 1 && byte == [3]).then(|| "T02thread:01;".to_owned()),
        }
    }

    async fn say(&mut self, payload: &str) {
        // The debugger may be gone.
        let _ = self.stream.write_all(&frame(payload.as_bytes())).await;
    }

    async fn request(&mut self) -> Option<String> {
        loop {
            // An interrupt that came too late means nothing, nor does an acknowledgement.
            let start = self.seen.iter().position(|byte| *byte == b'$').unwrap_or(self.seen.len());
            assert!(self.seen[..start].iter().all(|byte| matches!(byte, b'+' | 3)), "{:?}", self.seen);
            if self.acks || start == 0 || self.seen[..start] == [3] {
                self.seen.drain(..start);
            } else {
                panic!("an acknowledgement that nobody wants: {:?}", self.seen);
            }
            if let Some(end) = self.seen.iter().position(|byte| *byte == b'#').filter(|end| self.seen.len() > end + 2) {
                let request = String::from_utf8(self.seen[1..end].to_vec()).expect("text");
                assert_eq!(self.seen[..end + 3], frame(request.as_bytes()), "a right checksum");
                self.seen.drain(..end + 3);
                return Some(request);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes).await {
                Ok(read) if read > 0 => self.seen.extend(&bytes[..read]),
                _ => return None,
            }
        }
    }
}
