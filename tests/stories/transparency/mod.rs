//! That nobody can tell there is a proxy: the same told directly and through us.

mod client_headers_stay_here;
mod errors_pass;
mod headers_are_made_from_the_body;
mod lists_are_shown_byte_for_byte;
mod names_are_prefixed_on_the_merged_endpoint;
mod requests_arrive_byte_for_byte;
mod results_come_back_byte_for_byte;
mod unlisted_tools_are_for_the_upstream_to_judge;
mod uris_carry_their_upstream_on_the_merged_endpoint;
