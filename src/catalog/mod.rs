//! What all upstreams offer, merged: names, URIs, immutable snapshots (pure).
