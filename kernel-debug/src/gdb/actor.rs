//! The task that owns the connection: it waits for stops and commands, keeps threads and lets them go.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::client::Resume;
use super::guest::Guest;
use super::guest::Registers;
use super::handle::Error;
use super::handle::{Event, Hit, OnHit, Options, Watch};
use super::task::{self, Kept, Seen};
use super::trace::{Trace, Tracing};

/// Below a held thread's stack pointer, in bytes: nothing of the kernel lives there (it is built without a red zone).
const BELOW: u64 = 0x100;

/// Steps that may be needed to get past an instruction: a string move takes one for each of its rounds.
const STEPS_OFF: u32 = 10_000;

/// The longest nap: a release waits for its end.
const LONGEST_NAP: Duration = Duration::from_millis(200);

/// What the handle asks for.
pub(super) enum Command {
    Watch(Watch, oneshot::Sender<Result<(), Error>>),
    Unwatch(i32, oneshot::Sender<Result<(), Error>>),
    Release(i32, oneshot::Sender<Result<bool, Error>>),
    Look(Vec<i32>, oneshot::Sender<Result<Vec<Seen>, Error>>),
    Trace(Trace, oneshot::Sender<Result<(), Error>>),
    Untrace(oneshot::Sender<Result<(), Error>>),
    Detach(oneshot::Sender<Result<(), Error>>),
}

/// A thread that naps in the kernel until it is released.
struct Held {
    /// What it gets back.
    saved: Registers,
    /// Its stack pointer when a nap is over. Nobody else's can be there: it is the thread's own stack.
    back: u64,
    since: Instant,
    /// Naps so far.
    naps: u32,
    released: bool,
}

impl Held {
    /// Where it is when a nap is over. In a kernel that has no place for that alone, it is the instruction at which the thread
    /// is held, and whoever else comes there is stepped over it.
    fn lands(&self, landing: Option<u64>) -> u64 {
        landing.unwrap_or(self.saved.rip)
    }
}

/// A thread whose virtual CPU stands.
struct Frozen {
    thread: u32,
    address: u64,
    until: Instant,
}

pub(super) struct Actor {
    pub guest: Guest,
    options: Options,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::UnboundedSender<Event>,
    watches: HashMap<i32, (BTreeSet<u64>, OnHit)>,
    held: HashMap<i32, Held>,
    /// How long the last hold was wanted.
    wanted: Duration,
    frozen: HashMap<i32, Frozen>,
    pub tracing: Option<Tracing>,
    /// The handle is gone or has asked to detach.
    leaving: bool,
    /// Who is to be told when that is done.
    detached: Option<oneshot::Sender<Result<(), Error>>>,
}

impl Actor {
    pub fn new(
        guest: Guest,
        options: Options,
        commands: mpsc::UnboundedReceiver<Command>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let (watches, held, frozen) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self {
            guest,
            options,
            commands,
            events,
            watches,
            held,
            wanted: Duration::ZERO,
            frozen,
            tracing: None,
            leaving: false,
            detached: None,
        }
    }

    /// Works until the handle is gone and every thread with it, or the guest.
    pub async fn run(mut self, lost: Arc<OnceLock<String>>) {
        let worked = self.work().await;
        let done = self.detached.take();
        let end = match worked {
            Ok(()) => self.guest.gdb.detach().await,
            Err(error) => Err(error),
        };
        let reason = match &end {
            Ok(()) => "it was detached".to_owned(),
            Err(error) => error.with_causes(),
        };
        // Before the event and before the channels close: whoever sees those may ask why.
        let _ = lost.set(reason.clone());
        if end.is_err() {
            let _ = self.events.send(Event::Lost { reason });
        }
        if let Some(done) = done {
            let _ = done.send(end);
        }
    }

    async fn work(&mut self) -> Result<(), Error> {
        loop {
            // The machine stands here. Only what waits already is done at once, or a caller could keep it standing.
            for _ in 0..self.commands.len() {
                if let Ok(command) = self.commands.try_recv() {
                    self.obey(command).await?;
                }
            }
            self.thaw_overdue().await?;
            if self.leaving && self.held.is_empty() {
                return Ok(());
            }
            self.sync().await?;
            self.resume().await?;
            self.running().await?;
        }
    }

    /// Waits while the machine runs; it stands when this returns.
    async fn running(&mut self) -> Result<(), Error> {
        loop {
            let thaw = self.frozen.values().map(|frozen| frozen.until).min();
            let command = tokio::select! {
                stop = self.guest.gdb.stopped() => {
                    stop?;
                    return self.hits().await;
                }
                command = self.commands.recv(), if !self.leaving => Some(command),
                () = sleep_until(thaw) => None,
            };
            match command {
                // A nap ends by itself: no need to stop anybody.
                Some(Some(Command::Release(tid, done))) if !self.frozen.contains_key(&tid) => {
                    let _ = done.send(Ok(self.let_go(tid)));
                }
                Some(Some(command)) => {
                    self.stand().await?;
                    return self.obey(command).await;
                }
                Some(None) => {
                    self.stand().await?;
                    return self.leave(None).await;
                }
                None => return self.stand().await,
            }
        }
    }

    /// Stops the machine, and deals with whatever stopped it first.
    async fn stand(&mut self) -> Result<(), Error> {
        self.guest.gdb.interrupt().await?;
        self.hits().await
    }

    async fn resume(&mut self) -> Result<(), Error> {
        if self.frozen.is_empty() {
            return self.guest.gdb.resume(Resume::All).await;
        }
        let running = self.running_threads();
        self.guest.gdb.resume(Resume::Only(&running)).await
    }

    /// Virtual CPUs that no frozen thread keeps.
    fn running_threads(&self) -> Vec<u32> {
        let stands = |thread: &u32| self.frozen.values().any(|frozen| frozen.thread == *thread);
        self.guest.gdb.threads().iter().copied().filter(|thread| !stands(thread)).collect()
    }

    /// Looks which virtual CPUs stand at a breakpoint. Only one is named in a stop reply; another one that got to its
    /// breakpoint at the same time has not executed it, and would only hit it again.
    async fn hits(&mut self) -> Result<(), Error> {
        let threads = self.running_threads();
        let all = self.guest.gdb.all_registers(&threads).await?;
        for (thread, registers) in threads.into_iter().zip(all) {
            if self.guest.gdb.breaks_at(registers.rip) {
                self.hit(thread, registers).await?;
            }
        }
        Ok(())
    }

    async fn hit(&mut self, thread: u32, registers: Registers) -> Result<(), Error> {
        let address = registers.rip;
        let landing = self.guest.layout.landing;
        let back = |held: &Held| held.lands(landing) == address && held.back == registers.sp();
        if let Some((&tid, held)) = self.held.iter().find(|(_, held)| back(held)) {
            return if held.released { self.restore(thread, tid).await } else { self.nap(thread, tid).await };
        }
        let (task, preempt_count) = self.guest.current(thread).await?;
        let tid = task.pid;
        let standing = self.guest.standing(&registers, &task, preempt_count);
        // An interrupt that the thread suffers is not the thread, and neither is anything on top of its nap.
        let somebody_else = standing.serves_interrupt() || self.held.contains_key(&tid);
        if !somebody_else && self.tracing.as_ref().is_some_and(|it| it.tid == tid && it.ahead.contains(&address)) {
            return self.traced(thread, registers, standing.illegal()).await;
        }
        let watch = self.watches.get(&tid).filter(|(addresses, _)| addresses.contains(&address) && !somebody_else);
        let Some((_, on_hit)) = watch else {
            return self.step_off(thread, address).await;
        };
        let on_hit = *on_hit;
        self.watches.remove(&tid);
        let hit = Hit { tid, address, cpu: self.guest.cpu(thread), registers };
        match on_hit {
            OnHit::Pass => {
                self.tell(Event::Reached(hit));
                self.step_off(thread, address).await
            }
            OnHit::Hold => {
                if let Some(why) = standing.illegal() {
                    return self.refuse(thread, &hit, why).await;
                }
                // A function begins with rsp 8 bytes off a multiple of 16, its return address there
                // (System V ABI for x86-64, 3.2.2).
                let back = (registers.sp() - BELOW) & !15;
                self.held.insert(tid, Held { saved: registers, back, since: Instant::now(), naps: 0, released: false });
                self.nap(thread, tid).await?;
                self.tell(Event::Held(hit));
                Ok(())
            }
            OnHit::Freeze if self.running_threads().len() < 2 => {
                let why = "no other virtual CPU would be left to run".to_owned();
                self.refuse(thread, &hit, why).await
            }
            OnHit::Freeze => {
                let until = Instant::now() + self.options.longest_freeze;
                self.frozen.insert(tid, Frozen { thread, address, until });
                self.tell(Event::Frozen(hit));
                Ok(())
            }
        }
    }

    async fn refuse(&mut self, thread: u32, hit: &Hit, why: String) -> Result<(), Error> {
        self.tell(Event::Illegal { tid: hit.tid, address: hit.address, why });
        self.step_off(thread, hit.address).await
    }

    /// Sends a held thread into `msleep`, to return to where it lands.
    ///
    /// QEMU forgets all code it has translated whenever a breakpoint is hit (`gdb_vm_state_change` in its gdbstub.c), and the
    /// guest crawls until it has been translated again. So there are to be few naps: the first one is as long as the hold
    /// before was, and each later one a quarter of the hold so far.
    async fn nap(&mut self, thread: u32, tid: i32) -> Result<(), Error> {
        let Some(held) = self.held.get_mut(&tid) else { return Ok(()) };
        let expected = if held.naps == 0 { self.wanted } else { held.since.elapsed() / 4 };
        held.naps += 1;
        let nap = expected.min(LONGEST_NAP).max(Duration::from_millis(self.options.nap_ms.into()));
        let (saved, slot, lands) = (held.saved, held.back - 8, held.lands(self.guest.layout.landing));
        let milliseconds = u64::try_from(nap.as_millis()).unwrap_or(u64::MAX);
        let napping = saved.calling(self.guest.layout.msleep, milliseconds, slot);
        self.guest.gdb.write(thread, &napping, Some((slot, &lands.to_le_bytes()))).await
    }

    /// Gives a thread whose last nap is over what it had, on whatever CPU it woke up.
    async fn restore(&mut self, thread: u32, tid: i32) -> Result<(), Error> {
        let Some(held) = self.held.remove(&tid) else { return Ok(()) };
        self.guest.gdb.write(thread, &held.saved, None).await?;
        // Somebody may be waited for where it was held.
        if self.guest.gdb.breaks_at(held.saved.rip) { self.step_off(thread, held.saved.rip).await } else { Ok(()) }
    }

    /// Executes the instruction under a breakpoint on the one CPU that stands there, while all others stand as well. The
    /// breakpoint is set again when the machine goes on, if anybody still wants it.
    pub async fn step_off(&mut self, thread: u32, address: u64) -> Result<(), Error> {
        self.guest.gdb.remove(&[address]).await?;
        for _ in 0..STEPS_OFF {
            self.guest.gdb.step(thread).await?;
            if self.guest.gdb.registers(thread).await?.rip != address {
                break;
            }
        }
        self.sync().await
    }

    /// Sets the breakpoints that are wanted and removes all others.
    async fn sync(&mut self) -> Result<(), Error> {
        let landing = self.guest.layout.landing;
        let watched = self.watches.values().flat_map(|(addresses, _)| addresses.iter().copied());
        let ahead = self.tracing.iter().flat_map(|tracing| tracing.ahead.iter().copied());
        let wanted: BTreeSet<u64> =
            watched.chain(self.held.values().map(|held| held.lands(landing))).chain(ahead).collect();
        let stale: Vec<u64> = self.guest.gdb.breakpoints().filter(|address| !wanted.contains(address)).collect();
        self.guest.gdb.remove(&stale).await?;
        self.guest.gdb.insert(&wanted.into_iter().collect::<Vec<_>>()).await
    }

    /// Carries out a command while the machine stands.
    async fn obey(&mut self, command: Command) -> Result<(), Error> {
        match command {
            Command::Watch(watch, done) => {
                let result = self.watch(watch).await;
                answer(done, result)
            }
            Command::Unwatch(tid, done) => {
                self.watches.remove(&tid);
                answer(done, self.sync().await)
            }
            Command::Release(tid, done) => {
                let thawed = self.thaw(tid).await;
                let result = thawed.map(|thawed| thawed || self.let_go(tid));
                answer(done, result)
            }
            Command::Look(tids, done) => {
                let result = self.look(&tids).await;
                answer(done, result)
            }
            Command::Trace(trace, done) => {
                self.tracing = Some(Tracing::new(trace));
                let set = self.sync().await;
                if set.is_err() {
                    self.tracing = None;
                    self.sync().await?;
                }
                answer(done, set)
            }
            Command::Untrace(done) => {
                self.tracing = None;
                answer(done, self.sync().await)
            }
            Command::Detach(done) => self.leave(Some(done)).await,
        }
    }

    async fn watch(&mut self, watch: Watch) -> Result<(), Error> {
        let cpus = self.guest.gdb.threads().len();
        match watch.on_hit {
            OnHit::Hold if !self.options.preempt_count => return Err(Error::NoPreemptCount),
            OnHit::Freeze if cpus < 2 => return Err(Error::TooFewCpus { cpus }),
            _ => {}
        }
        let tid = watch.tid;
        self.watches.insert(tid, (watch.addresses.into_iter().collect(), watch.on_hit));
        let set = self.sync().await;
        if set.is_err() {
            self.watches.remove(&tid);
            self.sync().await?;
        }
        set
    }

    async fn look(&mut self, tids: &[i32]) -> Result<Vec<Seen>, Error> {
        let mut all = Vec::with_capacity(tids.len());
        for &tid in tids {
            let held = self.held.get(&tid).map(|held| Kept::Held(held.saved));
            let kept = held.or_else(|| self.frozen.contains_key(&tid).then_some(Kept::Frozen));
            all.push(task::look(&mut self.guest, tid, kept).await?);
        }
        Ok(all)
    }

    /// A held thread's present nap is its last; false when it is not held, or was released before.
    fn let_go(&mut self, tid: i32) -> bool {
        let Some(held) = self.held.get_mut(&tid).filter(|held| !held.released) else { return false };
        held.released = true;
        self.wanted = held.since.elapsed();
        true
    }

    /// A frozen thread goes on; false when it is not frozen.
    async fn thaw(&mut self, tid: i32) -> Result<bool, Error> {
        let Some(frozen) = self.frozen.remove(&tid) else { return Ok(false) };
        self.step_off(frozen.thread, frozen.address).await?;
        Ok(true)
    }

    async fn thaw_overdue(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let overdue: Vec<i32> =
            self.frozen.iter().filter(|(_, frozen)| frozen.until <= now).map(|(tid, _)| *tid).collect();
        for tid in overdue {
            self.thaw(tid).await?;
            self.tell(Event::Thawed { tid });
        }
        Ok(())
    }

    /// Lets everybody go. The connection lasts until the last held thread has woken up.
    async fn leave(&mut self, done: Option<oneshot::Sender<Result<(), Error>>>) -> Result<(), Error> {
        self.leaving = true;
        self.detached = done;
        self.watches.clear();
        self.tracing = None;
        self.held.values_mut().for_each(|held| held.released = true);
        for tid in self.frozen.keys().copied().collect::<Vec<_>>() {
            self.thaw(tid).await?;
        }
        Ok(())
    }

    /// Nobody may be listening any more.
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

/// What the caller did wrong is the caller's; what breaks the connection ends the actor too.
fn answer<T>(done: oneshot::Sender<Result<T, Error>>, result: Result<T, Error>) -> Result<(), Error> {
    let reason = match &result {
        Ok(_)
        | Err(Error::TooFewCpus { .. } | Error::NoPreemptCount | Error::Breakpoint { .. } | Error::Refused { .. }) => {
            None
        }
        Err(error) => Some(error.with_causes()),
    };
    // Nobody may be waiting any more.
    let _ = done.send(result);
    reason.map_or(Ok(()), |reason| Err(Error::Lost { reason }))
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
