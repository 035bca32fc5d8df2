//! Takes a permitted client request to the right upstream and its answers back.
