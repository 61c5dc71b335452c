val words : string -> (string * int) list
(** [words text] are the words of [text], in order of the alphabet, each with how often it is there. *)
