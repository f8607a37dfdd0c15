//! A client of QEMU's gdb stub, one request at a time.
//!
//! There are crates for writing stubs and for driving a gdb process; none speaks the protocol's other side, of which
//! little is needed. [`Gdb`] knows nothing of Linux. QEMU's stub shows each virtual CPU as a thread, numbered from 1.
//!
//! What is particular about QEMU's stub:
//! * Connecting stops the machine, and an unasked stop reply comes before the first answer.
//! * While the machine runs, any byte stops it. So nothing but the interrupt byte is ever sent then.
//! * QEMU 7.2 knows no mode without acknowledgements, but takes the beginning of the next request for one. So an answer's
//!   `+` travels with the next request, and nothing is ever sent by itself while the machine runs.
//! * Requests that follow each other without waiting are answered in order; that takes a third of the time.
//! * A breakpoint hit selects that CPU for memory and registers, so the selection is not remembered over a run.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::guest::Registers;
use super::handle::Error;
use super::packet::{self, Decoder, Stop, Token};

/// How long one answer may take. It is there at once unless QEMU hangs or its host is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes asked for by one `m` packet: more than half of `MAX_PACKET_LENGTH`, 4096, QEMU refuses.
const CHUNK: usize = 2048;

/// Bytes written by one `M` packet, which may itself not be longer than that.
const WRITE_CHUNK: usize = 1024;

/// Requests sent before their answers are read. All of them fit into a socket's buffer.
const AHEAD: usize = 32;

/// Which virtual CPUs a resumed machine lets run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resume<'a> {
    /// All.
    All,
    /// These; the others stand.
    Only(&'a [u32]),
    /// This one, for one instruction without interrupts; the others stand.
    Step(u32),
}

/// How a breakpoint was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Software,
    Hardware,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Gdb {
    stream: UnixStream,
    decoder: Decoder,
    /// The other side wants acknowledgements.
    acks: bool,
    /// One has not been sent yet.
    owed: bool,
    selected: Option<u32>,
    breakpoints: BTreeMap<u64, Kind>,
    threads: Vec<u32>,
}

impl Gdb {
    /// Shakes hands. The machine stands afterwards.
    pub async fn open(stream: UnixStream) -> Result<Self, Error> {
        let mut gdb = Self {
            stream,
            decoder: Decoder::default(),
            acks: true,
            owed: false,
            selected: None,
            breakpoints: BTreeMap::new(),
            threads: Vec::new(),
        };
        let reply = gdb.ask("qSupported", b"qSupported:swbreak+;hwbreak+").await?;
        gdb.acks = !(text(&reply).contains("QStartNoAckMode+")
            && gdb.ask("QStartNoAckMode", b"QStartNoAckMode").await? == b"OK");
        let offered = gdb.ask("vCont?", b"vCont?").await?;
        let actions = text(&offered);
        if !actions.split(';').any(|action| action == "s") || !actions.split(';').any(|action| action == "c") {
            return Err(Error::Refused { doing: "to run and step single CPUs (vCont)".to_owned(), reply: actions });
        }
        gdb.threads = gdb.list().await?;
        Ok(gdb)
    }

    async fn list(&mut self) -> Result<Vec<u32>, Error> {
        let mut threads = Vec::new();
        let mut packet: &[u8] = b"qfThreadInfo";
        loop {
            let reply = text(&self.ask("the list of virtual CPUs", packet).await?);
            let more = match reply.strip_prefix('m') {
                Some(ids) => ids.split(',').map(packet::thread).collect::<Option<Vec<_>>>(),
                None if reply == "l" && !threads.is_empty() => return Ok(threads),
                None => None,
            };
            let Some(more) = more else {
                return Err(Error::Unexpected { doing: "the list of virtual CPUs".to_owned(), reply });
            };
            threads.extend(more);
            packet = b"qsThreadInfo";
        }
    }

    /// The threads, in the order of their virtual CPUs.
    pub fn threads(&self) -> &[u32] {
        &self.threads
    }

    /// Several virtual CPUs' registers.
    pub async fn all_registers(&mut self, threads: &[u32]) -> Result<Vec<Registers>, Error> {
        let packets: Vec<_> =
            threads.iter().flat_map(|thread| [format!("Hg{thread:x}").into_bytes(), b"g".to_vec()]).collect();
        let replies = self.batch("the CPUs' registers", &packets).await?;
        self.selected = threads.last().copied();
        let parse = |replies: &[Vec<u8>]| {
            let bytes = replies.get(1).and_then(|reply| packet::unhex(reply));
            bytes.and_then(|bytes| Registers::parse(&bytes)).ok_or_else(|| Error::Unexpected {
                doing: "a CPU's registers".to_owned(),
                reply: replies.iter().map(|reply| text(reply)).collect::<Vec<_>>().join(" "),
            })
        };
        replies.chunks(2).map(parse).collect()
    }

    /// A virtual CPU's registers.
    pub async fn registers(&mut self, thread: u32) -> Result<Registers, Error> {
        let mut all = self.all_registers(&[thread]).await?;
        all.pop().ok_or_else(|| Error::Unexpected { doing: "a CPU's registers".to_owned(), reply: String::new() })
    }

    /// Writes the part of a virtual CPU's registers that belongs to the thread on it, and some memory as that CPU sees it;
    /// the rest stays.
    pub async fn write(
        &mut self,
        thread: u32,
        registers: &Registers,
        memory: Option<(u64, &[u8])>,
    ) -> Result<(), Error> {
        let mut packets = vec![format!("Hg{thread:x}").into_bytes()];
        packets.push([b"G", packet::hex(&registers.thread_bytes()).as_bytes()].concat());
        for (chunk, at) in
            memory.into_iter().flat_map(|(start, bytes)| bytes.chunks(WRITE_CHUNK).zip((start..).step_by(WRITE_CHUNK)))
        {
            packets.push(format!("M{at:x},{:x}:{}", chunk.len(), packet::hex(chunk)).into_bytes());
        }
        self.selected = Some(thread);
        let doing = "writing a CPU's registers and stack";
        for reply in self.batch(doing, &packets).await? {
            accepted(doing, &reply)?;
        }
        Ok(())
    }

    /// Memory as the CPU `thread` sees it: one answer for each address and length, none where it is not mapped.
    pub async fn read(&mut self, thread: u32, spots: &[(u64, usize)]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.select(thread).await?;
        let mut packets = Vec::new();
        let mut pieces = Vec::new();
        for &(address, length) in spots {
            pieces.push(length.div_ceil(CHUNK));
            for offset in (0..length).step_by(CHUNK) {
                let size = CHUNK.min(length - offset);
                packets.push(format!("m{:x},{size:x}", address.wrapping_add(offset as u64)).into_bytes());
            }
        }
        let mut replies = self.batch("reading memory", &packets).await?.into_iter();
        let whole = |(count, &(_, length)): (usize, &(u64, usize))| {
            let pieces: Vec<_> = replies.by_ref().take(count).map(|reply| packet::unhex(&reply)).collect();
            let bytes = pieces.into_iter().collect::<Option<Vec<_>>>()?.concat();
            (bytes.len() == length).then_some(bytes)
        };
        Ok(pieces.into_iter().zip(spots).map(whole).collect())
    }

    /// Sets breakpoints where there are none: in software, and in hardware where the stub will not.
    pub async fn insert(&mut self, addresses: &[u64]) -> Result<(), Error> {
        let new: Vec<u64> =
            addresses.iter().copied().filter(|address| !self.breakpoints.contains_key(address)).collect();
        let packets: Vec<_> = new.iter().map(|address| format!("Z0,{address:x},1").into_bytes()).collect();
        let replies = self.batch("setting breakpoints", &packets).await?;
        let (set, refused): (Vec<_>, Vec<_>) = new.into_iter().zip(replies).partition(|(_, reply)| reply == b"OK");
        self.breakpoints.extend(set.into_iter().map(|(address, _)| (address, Kind::Software)));
        for (address, _) in refused {
            let packet = format!("Z1,{address:x},1");
            if self.ask("setting a hardware breakpoint", packet.as_bytes()).await? != b"OK" {
                return Err(Error::Breakpoint { address, set: self.breakpoints.len() });
            }
            self.breakpoints.insert(address, Kind::Hardware);
        }
        Ok(())
    }

    /// Removes breakpoints, where there are any.
    pub async fn remove(&mut self, addresses: &[u64]) -> Result<(), Error> {
        let old: Vec<(u64, Kind)> =
            addresses.iter().filter_map(|address| Some((*address, self.breakpoints.remove(address)?))).collect();
        let packets: Vec<_> = old.iter().map(|(address, kind)| removal(*address, *kind)).collect();
        for reply in self.batch("removing breakpoints", &packets).await? {
            accepted("removing a breakpoint", &reply)?;
        }
        Ok(())
    }

    /// Addresses of the breakpoints that are set.
    pub fn breakpoints(&self) -> impl Iterator<Item = u64> {
        self.breakpoints.keys().copied()
    }

    /// Whether one is set there.
    pub fn breaks_at(&self, address: u64) -> bool {
        self.breakpoints.contains_key(&address)
    }

    /// Lets the machine run; [`Gdb::stopped`] says when it stands again.
    pub async fn resume(&mut self, resume: Resume<'_>) -> Result<(), Error> {
        let packet = match resume {
            Resume::All => "vCont;c".to_owned(),
            Resume::Only(threads) => {
                threads.iter().fold("vCont".to_owned(), |all, thread| format!("{all};c:{thread:x}"))
            }
            Resume::Step(thread) => format!("vCont;s:{thread:x}"),
        };
        self.selected = None;
        self.send("letting the guest run", packet.as_bytes()).await
    }

    /// Executes one instruction of one virtual CPU while the others stand.
    pub async fn step(&mut self, thread: u32) -> Result<(), Error> {
        self.resume(Resume::Step(thread)).await?;
        in_time("stepping one instruction", self.stopped()).await.map(drop)
    }

    /// Waits until the machine stands. Safe to cancel.
    pub async fn stopped(&mut self) -> Result<Stop, Error> {
        loop {
            let payload = self.receive("waiting for a stop").await?;
            match packet::stop(&payload) {
                Some(Stop::Ended(reply)) => return Err(Error::Ended { reply }),
                Some(stop) => return Ok(stop),
                // `O`: the guest's output through the debugger, which nobody asked for.
                None if payload.first() == Some(&b'O') && payload != b"OK" => {}
                None => {
                    let reply = text(&payload);
                    return Err(Error::Unexpected { doing: "waiting for a stop".to_owned(), reply });
                }
            }
        }
    }

    /// Stops the machine. What is returned may be a hit that came first.
    pub async fn interrupt(&mut self) -> Result<Stop, Error> {
        let doing = "stopping the guest";
        self.stream.write_all(&[3]).await.map_err(|source| Error::Connection { doing, source })?;
        in_time(doing, self.stopped()).await
    }

    /// Lets go of the machine, which runs on without breakpoints.
    pub async fn detach(mut self) -> Result<(), Error> {
        let all: Vec<u64> = self.breakpoints().collect();
        self.remove(&all).await?;
        let reply = self.ask("detaching", b"D").await?;
        accepted("detaching", &reply)
    }

    async fn select(&mut self, thread: u32) -> Result<(), Error> {
        if self.selected != Some(thread) {
            let reply = self.ask("selecting a CPU", format!("Hg{thread:x}").as_bytes()).await?;
            accepted("selecting a CPU", &reply)?;
            self.selected = Some(thread);
        }
        Ok(())
    }

    /// One request and its answer, while the machine stands.
    async fn ask(&mut self, doing: &'static str, packet: &[u8]) -> Result<Vec<u8>, Error> {
        in_time(doing, async {
            self.send(doing, packet).await?;
            self.answer(doing).await
        })
        .await
    }

    /// Requests whose answers do not depend on each other.
    async fn batch(&mut self, doing: &'static str, packets: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
        let mut replies = Vec::with_capacity(packets.len());
        for packets in packets.chunks(AHEAD) {
            in_time(doing, async {
                let frames: Vec<u8> = packets.iter().flat_map(|packet| packet::frame(packet)).collect();
                self.transmit(doing, &frames).await?;
                for _ in packets {
                    replies.push(self.answer(doing).await?);
                }
                Ok(())
            })
            .await?;
        }
        Ok(replies)
    }

    async fn send(&mut self, doing: &'static str, packet: &[u8]) -> Result<(), Error> {
        self.transmit(doing, &packet::frame(packet)).await
    }

    /// Sends packets, behind the acknowledgement that is owed for the last answer.
    async fn transmit(&mut self, doing: &'static str, frames: &[u8]) -> Result<(), Error> {
        let acknowledged =
            if std::mem::take(&mut self.owed) && self.acks { [b"+", frames].concat() } else { frames.to_vec() };
        self.stream.write_all(&acknowledged).await.map_err(|source| Error::Connection { doing, source })
    }

    /// The answer to a request. Stop replies are none: the machine stands already.
    async fn answer(&mut self, doing: &'static str) -> Result<Vec<u8>, Error> {
        loop {
            let payload = self.receive(doing).await?;
            match packet::stop(&payload) {
                Some(Stop::Ended(reply)) => return Err(Error::Ended { reply }),
                Some(Stop::Signal { .. }) => {}
                None => return Ok(payload),
            }
        }
    }

    /// The next packet. Safe to cancel.
    async fn receive(&mut self, doing: &'static str) -> Result<Vec<u8>, Error> {
        loop {
            match self.token(doing).await? {
                Token::Packet(payload) => {
                    self.owed = true;
                    return Ok(payload);
                }
                Token::Ack => {}
                // A local socket loses nothing, so something is deeply wrong.
                Token::Nak | Token::Corrupt => {
                    return Err(Error::Unexpected { doing: doing.to_owned(), reply: "a wrong checksum".to_owned() });
                }
            }
        }
    }

    async fn token(&mut self, doing: &'static str) -> Result<Token, Error> {
        loop {
            if let Some(token) = self.decoder.next() {
                return Ok(token);
            }
            let read = self.stream.read_buf(self.decoder.room()).await.map_err(|source| match source.kind() {
                std::io::ErrorKind::ConnectionReset => Error::Closed { doing },
                _ => Error::Connection { doing, source },
            })?;
            if read == 0 {
                return Err(Error::Closed { doing });
            }
        }
    }
}

fn removal(address: u64, kind: Kind) -> Vec<u8> {
    let kind = match kind {
        Kind::Software => 0,
        Kind::Hardware => 1,
    };
    format!("z{kind},{address:x},1").into_bytes()
}

async fn in_time<T>(doing: &'static str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or(Err(Error::Silent { doing, after: PATIENCE }))
}

fn accepted(doing: &str, reply: &[u8]) -> Result<(), Error> {
    if reply == b"OK" { Ok(()) } else { Err(Error::Refused { doing: doing.to_owned(), reply: text(reply) }) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
