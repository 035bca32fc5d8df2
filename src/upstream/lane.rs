//! The life of one lane: a further connection of an upstream, from its opening to its end.
//!
//! It reads no lists and subscribes to nothing, and of what its server says outside calls it
//! passes on what concerns one client alone; the rest is for the connection that all share.

use crate::bridge::initialize::Peer;
use crate::mcp::Era;
use crate::task::Scope;
use crate::upstream::call::Unrequested;
use crate::upstream::connection::{Connection, Greeting, exited};
use crate::upstream::lanes::Life;
use crate::upstream::link::Wire;
use crate::upstream::state::{Announcement, Upstream};
use crate::upstream::tools::Tools;
use crate::upstream::watching::follow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long the stream for messages outside calls may take to open before calls begin without it.
const STREAM: Duration = Duration::from_secs(1);

/// Why a lane ended.
enum End {
    /// It was not needed any more.
    Over(&'static str),
    /// It broke.
    Broken(String),
}

/// Opens the lane, keeps it for as long as it is of use, and ends it in order.
pub(super) async fn run(
    life: Life,
    upstream: Arc<Upstream>,
    tools: Tools,
    parent: Arc<Scope>,
    peer: Peer,
) {
    let key = &upstream.entry.key;
    let scope = Arc::new(parent.child(format!("lane {}", life.number())));
    let stop = parent.token();
    let greeting = Greeting::Again(&peer, life.declared());
    let mut connection =
        match Connection::open(&tools, &upstream.entry, scope, &stop, greeting).await {
            Ok(connection) => connection,
            Err(failure) => {
                log::warn!("{key}: a further connection could not be made: {}", failure.why);
                return life.failed(&failure.why);
            }
        };
    hear(&connection, key).await;
    log::debug!("{key}: lane {} is open", life.number());
    life.ready(&connection.link);
    let end = tokio::select! {
        () = stop.cancelled() => End::Over("the gateway is stopping"),
        why = life.over(upstream.entry.lanes.idle) => End::Over(why),
        why = broken(&mut connection, &upstream, &tools.announce) => End::Broken(why),
    };
    match end {
        End::Over(why) => {
            life.failed(why);
            let why = connection.end(why.to_owned()).await;
            log::debug!("{key}: lane {} was ended: {why}", life.number());
        }
        End::Broken(why) => {
            life.failed(&why);
            let why = connection.end(why).await;
            log::warn!("{key}: a further connection ended: {why}");
        }
    }
}

/// Opens the stream on which a legacy HTTP server says what belongs to no request: its questions
/// can come there.
async fn hear(connection: &Connection, key: &str) {
    let (Era::Legacy, Wire::Http(http)) = (connection.link.era(), connection.link.wire()) else {
        return;
    };
    let (opened, open) = oneshot::channel();
    let (http, back) = (Arc::clone(http), connection.back.clone());
    let following = follow(http, back, key.to_owned(), Some(opened));
    connection.scope.spawn("lane stream", following);
    let _ = tokio::time::timeout(STREAM, open).await; // a server may offer none, or be slow
}

/// Returns when the connection is of no use any more, and why it is not.
async fn broken(
    connection: &mut Connection,
    upstream: &Upstream,
    announce: &mpsc::Sender<Announcement>,
) -> String {
    loop {
        tokio::select! {
            why = exited(&mut connection.process) => return why,
            arrived = connection.unrequested.recv() => match arrived {
                Some(Unrequested::Closed(why)) => return why,
                Some(Unrequested::Ambiguous) => upstream.lanes.ambiguous(),
                Some(Unrequested::Notice(notification)) => {
                    let link = &connection.link;
                    if let Some(news) = Announcement::news(upstream.position, link, notification) {
                        let _ = announce.send(news).await; // nobody hears it at the very end
                    }
                }
                Some(_) => {}
                None => return "the connection ended".to_owned(),
            },
        }
    }
}
