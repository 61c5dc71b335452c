open Astring

let words text =
  let count counts word =
    let so_far = Option.value ~default:0 (String.Map.find word counts) in
    String.Map.add word (so_far + 1) counts
  in
  String.fields ~empty:false ~is_sep:Char.Ascii.is_white text
  |> List.map String.Ascii.lowercase
  |> List.fold_left count String.Map.empty
  |> String.Map.bindings
