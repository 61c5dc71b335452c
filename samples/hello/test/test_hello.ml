let greeting = Alcotest.(check string) "greeting"
let names = Alcotest.(check (list string)) "names"

let one_name () = greeting "Hello, Ada!" (Hello.greet [ "Ada" ])
let three_names () = greeting "Hello, Ada, Grace and Barbara!" (Hello.greet [ "Ada"; "Grace"; "Barbara" ])
let nobody () = greeting "Hello, nobody!" (Hello.greet [])

let names_come_back () =
  let given = [ "Ada"; "Grace"; "Barbara" ] in
  names given (Hello.greeted (Hello.greet given))

let other_words_are_no_greeting () = names [] (Hello.greeted "Good bye, Ada!")

let () =
  Alcotest.run "hello"
    [
      ( "greet",
        [
          Alcotest.test_case "one name" `Quick one_name;
          Alcotest.test_case "three names" `Quick three_names;
          Alcotest.test_case "nobody" `Quick nobody;
        ] );
      ( "greeted",
        [
          Alcotest.test_case "names come back" `Quick names_come_back;
          Alcotest.test_case "other words are no greeting" `Quick other_words_are_no_greeting;
        ] );
    ]
