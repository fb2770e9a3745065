/*
 * What no source of core may do: it includes a header of a layer above, which core's view has not.
 */
#include "core/base.h"
#include "net/net.h"
