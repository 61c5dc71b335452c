(** Greetings and how to read them back. *)

val greet : string list -> string
(** [greet names] is one greeting for all of [names]: ["Hello, Ada and Grace!"]. *)

val greeted : string -> string list
(** [greeted text] are the names that [text] greets, in order; [[]] when it is no greeting. *)
