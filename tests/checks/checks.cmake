# The build's checks of itself, and proof that each can fail; labels layers and format.
#
# 1. A layer's sources see only the headers of the layers below: a view per layer (CMakeLists.txt). Here it is tried
#    that core cannot include net.
# 2. A layer calls only down: linked whole (programs layers.link_*), it must find every symbol in what it declared.
#    Here it is tried that an upward call does not link.
# 3. Every public header compiles alone, twice in a row.
# 4. The rules of the house that can be read off the text (sources.py), and clang-format (format.py).
set(checks ${CMAKE_CURRENT_LIST_DIR})
set(python /usr/bin/python3)

# What makes the linker take all of an archive.
function(penstock_whole_archive archive out)
    set(${out} "LINKER:--whole-archive,$<TARGET_FILE:${archive}>,--no-whole-archive,--no-undefined" PARENT_SCOPE)
endfunction()

foreach(layer core net broker_client session)
    penstock_whole_archive(${layer} whole)
    add_executable(layers.link_${layer} ${checks}/empty_main.c)
    set_target_properties(layers.link_${layer} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    target_link_options(layers.link_${layer} PRIVATE ${whole})
    target_link_libraries(layers.link_${layer} PRIVATE ${layer})
    add_test(NAME layers.link_${layer} COMMAND layers.link_${layer})

    file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/${layer}/*.h)
    set(alone)
    foreach(header ${headers})
        if(NOT header MATCHES "_internal\\.h$")
            set(source ${CMAKE_BINARY_DIR}/headers/${header}.c)
            file(CONFIGURE OUTPUT ${source} CONTENT "#include \"${header}\"\n#include \"${header}\"\n")
            list(APPEND alone ${source})
        endif()
    endforeach()
    add_library(layers.headers_${layer} OBJECT ${alone})
    target_link_libraries(layers.headers_${layer} PRIVATE ${layer})
endforeach()

# A refusal counts only with the message that names its cause.
set(compile ${CMAKE_C_COMPILER} -std=gnu17 -D_GNU_SOURCE)
add_test(NAME layers.upward_include_is_refused
    COMMAND ${compile} -fsyntax-only -I ${CMAKE_BINARY_DIR}/view/core ${checks}/upward_include.c)
set_tests_properties(layers.upward_include_is_refused PROPERTIES
    PASS_REGULAR_EXPRESSION "fatal error: '?net/net\\.h'?:? (No such file|file not found)")
add_test(NAME layers.downward_include_is_accepted
    COMMAND ${compile} -fsyntax-only -I ${CMAKE_BINARY_DIR}/view/net ${checks}/upward_include.c)

add_library(layers.upward STATIC ${checks}/upward_call.c)
add_test(NAME layers.upward_call_is_refused
    COMMAND ${CMAKE_C_COMPILER} -o /dev/null ${checks}/empty_main.c
        -Wl,--whole-archive,$<TARGET_FILE:layers.upward>,--no-whole-archive,--no-undefined)
set_tests_properties(layers.upward_call_is_refused PROPERTIES
    PASS_REGULAR_EXPRESSION "undefined reference to .net_destroy")

add_test(NAME layers.rules_can_be_broken COMMAND ${python} ${checks}/sources.py --self-test)
add_test(NAME layers.sources_keep_the_rules COMMAND ${python} ${checks}/sources.py ${CMAKE_SOURCE_DIR})
add_test(NAME format.clang_format COMMAND ${python} ${checks}/format.py ${CMAKE_SOURCE_DIR})

foreach(layer core net broker_client session)
    list(APPEND layers_tests layers.link_${layer})
endforeach()
set_tests_properties(${layers_tests} layers.upward_include_is_refused layers.downward_include_is_accepted
    layers.upward_call_is_refused layers.rules_can_be_broken layers.sources_keep_the_rules
    PROPERTIES LABELS layers TIMEOUT 60)
set_tests_properties(format.clang_format PROPERTIES LABELS format TIMEOUT 60 SKIP_RETURN_CODE 77)

# Every test of this folder, wherever it is added: a sanitizer's finding ends it, with its stack.
function(penstock_sanitizer_environment)
    get_property(tests DIRECTORY ${CMAKE_SOURCE_DIR}/tests PROPERTY TESTS)
    set_property(TEST ${tests} APPEND PROPERTY ENVIRONMENT
        ASAN_OPTIONS=detect_leaks=1:abort_on_error=1:detect_stack_use_after_return=1:strict_string_checks=1
        UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
        TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1)
    # ThreadSanitizer takes five to fifteen times the time.
    foreach(test ${tests})
        get_property(limit TEST ${test} PROPERTY TIMEOUT)
        if(PENSTOCK_SANITIZE MATCHES "thread" AND limit)
            math(EXPR limit "${limit} * 5")
            set_property(TEST ${test} PROPERTY TIMEOUT ${limit})
        endif()
    endforeach()
endfunction()
cmake_language(DEFER CALL penstock_sanitizer_environment)
