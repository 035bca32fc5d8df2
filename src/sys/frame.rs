//! What gateway, keeper and exec stage say to each other over the control socket.
//!
//! Length-prefixed JSON on a socket pair, the server's three pipes beside the first frame
//! (`SCM_RIGHTS`). The environment, which holds secrets, travels here and never in an argument.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::sandbox::Policy;
use super::spawn::{ChildSpec, Exit, SpawnError};
use crate::control::confine::Sandboxed;

/// The most bytes in one frame: a [`Plan`] of [`super::spawn::MAX_SPEC`] as JSON numbers.
pub(super) const MAX_FRAME: usize = 4 * super::spawn::MAX_SPEC + 64 * 1024;

/// The server's standard input, output and error.
pub(super) const PIPES: usize = 3;

/// From the gateway to the keeper. The end of the stream means [`Order::Kill`] and go.
#[derive(Serialize, Deserialize)]
pub(super) enum Order {
    Start(Box<Plan>),
    Terminate,
    Kill,
}

/// What the exec stage becomes.
#[derive(Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) command: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) cwd: Option<OsString>,
    pub(super) sandbox: Option<Box<Policy>>,
    /// The server's own temporary folder, which the keeper makes.
    pub(super) scratch: Option<PathBuf>,
}

/// From the exec stage to the keeper, and from the keeper to the gateway.
#[derive(Serialize, Deserialize)]
pub(super) enum Report {
    /// From the exec stage, right before it becomes the server.
    Confined(Sandboxed),
    Started {
        pid: i32,
        sandboxed: Option<Sandboxed>,
    },
    Failed(SpawnError),
    Exited(Exit),
}

impl From<ChildSpec> for Plan {
    fn from(spec: ChildSpec) -> Self {
        let cwd = spec.cwd.clone().map(OsString::from);
        let ChildSpec { command, args, env, sandbox, .. } = spec;
        Self { command, args, env, cwd, sandbox, scratch: None }
    }
}

/// One frame. Plans and reports always serialize.
pub(super) fn encode(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(value)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(4 + json.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&json);
    Ok(frame)
}

/// Collects bytes until a frame is whole.
#[derive(Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some((length, rest)) = self.bytes.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(io::Error::other)?;
        if length > MAX_FRAME {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "frame over its limit"));
        }
        let Some(json) = rest.get(..length) else { return Ok(None) };
        let value = serde_json::from_slice(json)?;
        self.bytes.drain(..4 + length);
        Ok(Some(value))
    }
}

/// Sends `frame` with the pipes beside its first bytes. Blocks, up to the socket's timeout.
pub(super) fn send_with_pipes(
    socket: &UnixStream,
    frame: &[u8],
    pipes: [BorrowedFd<'_>; PIPES],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PIPES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&pipes));
    let sent = sendmsg(socket, &[IoSlice::new(frame)], &mut control, SendFlags::empty())?;
    let mut socket = socket;
    socket.write_all(frame.get(sent..).unwrap_or_default())
}

/// Receives what [`send_with_pipes`] sent. Blocks.
pub(super) fn receive_with_pipes<T: DeserializeOwned>(
    socket: &UnixStream,
) -> io::Result<(T, [OwnedFd; PIPES])> {
    let mut frames = Frames::default();
    let mut chunk = [0; 4096];
    let (length, pipes) = receive_first(socket, &mut chunk)?;
    frames.push(chunk.get(..length).unwrap_or_default());
    let pipes = pipes.try_into().map_err(|_| io::Error::other("no pipes beside the frame"))?;
    loop {
        if let Some(value) = frames.next()? {
            return Ok((value, pipes));
        }
        let mut socket = socket;
        match socket.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => frames.push(chunk.get(..length).unwrap_or_default()),
        }
    }
}

fn receive_first(socket: &UnixStream, chunk: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    // macOS has no flag for it: there the descriptors are marked below, and as the process has
    // one thread, nothing can be started in between.
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PIPES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket.as_fd(), &mut [IoSliceMut::new(chunk)], &mut control, flags)?;
    let mut pipes = Vec::with_capacity(PIPES);
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            pipes.extend(fds);
        }
    }
    for pipe in &pipes {
        rustix::io::fcntl_setfd(pipe, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok((received.bytes, pipes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    #[test]
    fn a_plan_and_its_pipes_arrive_whole() {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        let odd = OsString::from_vec(vec![b'a', 0xff, b'\n']);
        let plan = Plan {
            command: "cat".into(),
            args: vec![odd.clone(), "x".repeat(10_000).into()],
            env: vec![("KEY".into(), odd.clone())],
            cwd: Some(odd),
            sandbox: None,
            scratch: None,
        };
        let (reader, writer) = io::pipe().expect("a pipe");
        let frame = encode(&plan).expect("a frame");
        send_with_pipes(&near, &frame, [writer.as_fd(), writer.as_fd(), writer.as_fd()])
            .expect("it is sent");
        drop(writer);
        let (got, pipes): (Plan, _) = receive_with_pipes(&far).expect("it arrives");
        assert_eq!((&got.command, &got.args, &got.env), (&plan.command, &plan.args, &plan.env));
        assert_eq!(got.cwd, plan.cwd);

        let pipes = pipes.map(std::fs::File::from);
        let [mut first, ..] = pipes.each_ref();
        first.write_all(b"through").expect("the pipe works");
        drop(pipes);
        let mut text = [0; 7];
        let mut reader = reader;
        reader.read_exact(&mut text).expect("the pipe works");
        assert_eq!(&text, b"through");
        assert_eq!(reader.read(&mut text).expect("no copy is left open"), 0);
    }

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let bytes: Vec<u8> =
            [1_u32, 22, 333].iter().flat_map(|n| encode(n).expect("a frame")).collect();
        for size in 1..=bytes.len() {
            let mut frames = Frames::default();
            let mut got = Vec::new();
            for chunk in bytes.chunks(size) {
                frames.push(chunk);
                while let Some(n) = frames.next::<u32>().expect("a number") {
                    got.push(n);
                }
            }
            assert_eq!(got, [1, 22, 333]);
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused() {
        let mut frames = Frames::default();
        frames.push(&u32::MAX.to_be_bytes());
        assert!(frames.next::<u32>().is_err());
    }
}
