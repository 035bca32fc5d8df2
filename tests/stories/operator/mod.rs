//! What someone who runs the gateway is promised.

mod a_question_to_a_file_says_what_is_missing;
