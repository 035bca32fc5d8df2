//! What one forwarded call costs in things that can be counted, and that therefore hardly differ
//! from machine to machine: allocations, system calls, sleeps of the process.

use crate::load::{Clients, Era, Shape};
use crate::plan::{Stage, Way};
use crate::process::{self, signal};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Calls between two counts.
const CALLS: usize = 600;

const WAYS: [Way; 4] = [
    Way::Onemcp { stdio: false, merged: true, same_era: true },
    Way::Onemcp { stdio: false, merged: false, same_era: true },
    Way::Onemcp { stdio: true, merged: true, same_era: true },
    Way::Onemcp { stdio: true, merged: false, same_era: true },
];

/// Prints the counts.
pub async fn run(binary: &Path) -> io::Result<()> {
    println!("| 100 B, each call | allocations | bytes | system calls | sleeps |");
    println!("|---|---:|---:|---:|---:|");
    let idle = heap(binary, None, Era::Legacy).await?;
    for era in [Era::Legacy, Era::Modern] {
        for way in WAYS {
            let busy = heap(binary, Some(way), era).await?;
            let each = |count: fn(&Heap) -> u64| match (&busy, &idle) {
                (Some(busy), Some(idle)) => {
                    format!("{:.1}", count(busy).saturating_sub(count(idle)) as f64 / CALLS as f64)
                }
                _ => "not counted".to_owned(),
            };
            let (blocks, bytes) = (each(|heap| heap.blocks), each(|heap| heap.bytes));
            for clients in [1, 16] {
                let (calls, sleeps) = kernel(binary, way, era, clients).await?;
                let plural = if clients == 1 { "" } else { "s" };
                println!(
                    "| {}, {}, {clients} client{plural} | {blocks} | {bytes} | {calls} | {sleeps:.2} |",
                    way.name(),
                    era.name(),
                );
            }
        }
    }
    Ok(())
}

/// Everything that was ever allocated.
struct Heap {
    blocks: u64,
    bytes: u64,
}

/// What the whole process allocates in its life, with or without [`CALLS`] calls in it; `None`
/// where the C library cannot count.
async fn heap(binary: &Path, way: Option<Way>, era: Era) -> io::Result<Option<Heap>> {
    let counting = [("LD_PRELOAD", "libmemusage.so"), ("MEMUSAGE_PROG_NAME", "1mcp")];
    let mut stage = Stage::set(binary, &counting).await?;
    if let Some(way) = way {
        call(&stage, way, era, 1, CALLS).await?;
    }
    let log = stage.end_onemcp();
    // "malloc|", and perhaps colours, then: calls, bytes, calls that failed
    let counted = |name: &str| {
        let rest = log.lines().find_map(|line| line.split_once(name))?.1;
        let mut numbers = rest.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        numbers.next().zip(numbers.next())
    };
    let all: Option<Vec<(u64, u64)>> =
        ["malloc|", "realloc|", "calloc|"].into_iter().map(counted).collect();
    Ok(all.map(|all| Heap {
        blocks: all.iter().map(|(calls, _)| calls).sum(),
        bytes: all.iter().map(|(_, bytes)| bytes).sum(),
    }))
}

async fn call(stage: &Stage, way: Way, era: Era, clients: usize, each: usize) -> io::Result<()> {
    let place = stage.place(way, era).ok_or(io::ErrorKind::NotFound)?;
    Clients::connect(&place, era, Shape::Echo(100), clients).await?.calls(each).await
}

/// System calls (as text, by name) and sleeps of each call.
async fn kernel(binary: &Path, way: Way, era: Era, clients: usize) -> io::Result<(String, f64)> {
    let stage = Stage::set(binary, &[]).await?;
    let id = stage.onemcp();
    let place = stage.place(way, era).ok_or(io::ErrorKind::NotFound)?;
    let mut load = Clients::connect(&place, era, Shape::Echo(100), clients).await?;
    let each = CALLS * 4 / clients;
    load.calls(each).await?;
    let before = process::sleeps(&[id]);
    load.calls(each).await?;
    let total = (each * clients) as f64;
    let sleeps = (process::sleeps(&[id]) - before) as f64 / total;
    let Ok(strace) = attach(id) else { return Ok(("no strace".to_owned(), sleeps)) };
    load.calls(each).await?;
    let counted = detach(strace)?;
    let all: f64 = counted.values().map(|count| *count as f64 / total).sum();
    let mut most: Vec<_> = counted.into_iter().collect();
    most.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let named = most.iter().map(|(name, count)| (name, *count as f64 / total));
    let named = named.filter(|(_, each)| *each >= 0.05);
    let named: Vec<_> = named.map(|(name, each)| format!("{name} {each:.2}")).collect();
    Ok((format!("{all:.2} ({})", named.join(", ")), sleeps))
}

fn attach(id: u32) -> io::Result<Child> {
    let mut child = Command::new("strace")
        .args(["-f", "-c", "-U", "calls,name", "-p", &id.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    // it says "Process N attached" for the first thread, and then for the others
    let mut said = Vec::new();
    let log = child.stderr.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
    while !said.ends_with(b"attached") {
        let mut byte = [0];
        if log.read(&mut byte)? == 0 {
            return Err(io::Error::other("strace could not attach"));
        }
        said.extend_from_slice(&byte);
    }
    Ok(child)
}

fn detach(mut strace: Child) -> io::Result<BTreeMap<String, u64>> {
    signal(strace.id(), Signal::INT);
    let mut text = String::new();
    strace.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?.read_to_string(&mut text)?;
    strace.wait()?;
    let mut counted = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(Ok(count)), Some(name)) = (words.next().map(str::parse), words.next())
            && name != "total"
        {
            counted.insert(name.to_owned(), count);
        }
    }
    Ok(counted)
}
