//! A modern client repeats a request, with what it was asked for (MCP 2026-07-28
//! basic/patterns/mrtr): it goes on with the call it is parked as, or goes upstream with the
//! upstream's own state. Nothing is sent before the state was found to be ours, the client's and
//! this request's.

use crate::mcp::{Era, Method};
use crate::relay::exchange::Exchange;
use crate::relay::forward::{Caller, Inquiry, Relay, enter};
use crate::relay::parking::{Origin, Parking};
use crate::relay::seal::{Held, Refusal};
use crate::upstream::Ticket;
use crate::wire::json::Value;
use crate::wire::jsonrpc::{Code, Rejected, Request};
use std::time::Instant;

/// The state that a request shows, if it is one that can be repeated.
pub(super) fn state(caller: &Caller, method: Method, message: &Request) -> Option<Value> {
    let may = caller.revision.era() == Era::Modern && method.mcp_name_param().is_some();
    if may { message.call.param("requestState") } else { None }
}

impl Relay {
    /// Goes on with the request that this is the retry of.
    ///
    /// # Errors
    /// -32602 for a state that does not belong here and for answers of the wrong shape, -32603 when
    /// the upstream has lost what it was about, or a limit is met.
    pub(super) async fn again(
        &self,
        inquiry: Inquiry<'_>,
        state: Value,
        mut ticket: Ticket,
    ) -> Result<Exchange, Rejected> {
        let Inquiry { permit, caller, method, message, .. } = inquiry;
        let seal = &self.parking.seal;
        let refused = |refusal| seal.refused(refusal);
        let text = state.text(&message.call.bytes).ok_or_else(|| refused(Refusal::Forged))?;
        let sealed = seal.unseal(&text).map_err(refused)?;
        let mut route = self.find(inquiry).await?;
        let principal = permit.principal();
        let rename = route.rename.as_ref();
        let origin = Origin::of(&self.parking, principal.clone(), method, message, rename);
        let origin = origin.ok_or_else(|| refused(Refusal::OtherRequest))?;
        let digest = origin.digest(route.upstream.slug());
        let held = sealed.claim(&principal, &digest, seal.now(Instant::now())).map_err(refused)?;
        match held {
            Held::Parked { id, round } => {
                // without a place it stays parked, and can be resumed later
                enter(&route.upstream, &mut ticket)?;
                let resumed = self.parking.resume((id, round), &principal, &message.call).await;
                let mut exchange = resumed.map_err(refused)?;
                exchange.take_place(ticket);
                exchange.rebind(message, caller, origin)?;
                Ok(*exchange)
            }
            Held::Wrapped(inner) => {
                route.state = Some((state.span, inner));
                self.send(inquiry, route, ticket).await
            }
            Held::Anew => match Parking::is_willing(&message.call).map_err(refused)? {
                true => self.send(inquiry, route, ticket).await,
                false => {
                    let key = &route.upstream.entry.key;
                    let text = format!("upstream {key:?} wants a url to be opened, and it was not");
                    Err(Rejected::new(Code::Internal, text))
                }
            },
        }
    }
}
